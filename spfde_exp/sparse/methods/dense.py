"""Dense training, the reference."""

from spfde_exp.sparse.methods.base import Method


class Dense(Method):
    """Every weight is trained."""

    name = "dense"
    title = "Dense"
    reference = "the network without sparsity"
    sparse = False
    schemes = ()
