"""MEST with elastic mutation (EM), MEST algorithm 1."""

from spfde_exp.sparse.methods.mest import Mest


class MestEM(Mest):
    """Vanilla MEST with a mutation ratio that halves at the milestones."""

    name = "mest_em"
    title = "MEST+EM"
    decay = 0.5
