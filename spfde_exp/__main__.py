"""`python -m spfde_exp`."""

from spfde_exp.cli import main

main()
