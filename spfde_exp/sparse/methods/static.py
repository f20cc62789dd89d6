"""A fixed random mask, the baseline that any method has to beat."""

from spfde_exp.sparse.methods.base import Method


class Static(Method):
    """The mask is drawn before training and never changes."""

    name = "static"
    title = "Static"
    reference = 'the baseline of Evci et al., ICML 2020 ("static")'
    reads = ("init",)
    schemes = ()
