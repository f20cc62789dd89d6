"""Run folders to tables, beside the papers' printed values. Needs no torch."""
