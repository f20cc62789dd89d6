"""Every sparse-training method by the name that `method=` takes. Importing them needs no torch."""

from spfde_exp.sparse.methods.base import Method
from spfde_exp.sparse.methods.deepr import Deepr
from spfde_exp.sparse.methods.dense import Dense
from spfde_exp.sparse.methods.dsr import Dsr
from spfde_exp.sparse.methods.lth import Lth
from spfde_exp.sparse.methods.mest import Mest
from spfde_exp.sparse.methods.mest_em import MestEM
from spfde_exp.sparse.methods.mest_ems import MestEMS
from spfde_exp.sparse.methods.ranked import Grasp, Snip, Synflow
from spfde_exp.sparse.methods.rigl import Rigl, RiglItop
from spfde_exp.sparse.methods.set import Set
from spfde_exp.sparse.methods.snfs import Snfs
from spfde_exp.sparse.methods.static import Static

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Dense, Static, Snip, Grasp, Synflow, Lth, Set, Deepr, Dsr, Snfs, Rigl, RiglItop, Mest, MestEM, MestEMS,
    )
}  # fmt: skip

__all__ = ["METHODS", "Method"]
