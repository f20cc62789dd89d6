"""Every sparse-training method by the name that `method=` takes. Importing them needs no torch."""

from spfde_exp.sparse.methods.base import Method
from spfde_exp.sparse.methods.dense import Dense
from spfde_exp.sparse.methods.mest import Mest
from spfde_exp.sparse.methods.mest_em import MestEM
from spfde_exp.sparse.methods.mest_ems import MestEMS
from spfde_exp.sparse.methods.static import Static

METHODS: dict[str, type[Method]] = {method.name: method for method in (Dense, Static, Mest, MestEM, MestEMS)}

__all__ = ["METHODS", "Method"]
