"""Sweeps: plans, slots and jobs."""
