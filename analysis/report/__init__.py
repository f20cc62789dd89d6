"""All tables and figures as a static site: pages, the runs behind each number, coverage, differences to the papers."""
