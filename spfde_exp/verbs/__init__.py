"""What `python -m spfde_exp.runs` can do: a module per verb, with `add_arguments` and `run`."""
