"""Runs that start from the result of another one, as each level of a lottery ticket does. Needs no torch."""

from dataclasses import replace

from spfde_exp.config import resolve
from spfde_exp.schema import Config
from spfde_exp.sparse.methods import METHODS


def parent(config: Config) -> Config | None:
    """The run whose final weights that of the resolved `config` starts from; None where there is none.

    It differs in the sparsity only; at 0 it is the dense run.
    """
    level = METHODS[config.method.name].previous_level(config.sparsity.target, config.method)
    if level is None:
        return None
    earlier = replace(config, sparsity=replace(config.sparsity, target=level), force=False)
    return resolve(vars(earlier))


def lineage(config: Config) -> list[Config]:
    """All runs that have to be done before that of `config`, the first one first."""
    earlier = parent(config)
    return [] if earlier is None else [*lineage(earlier), earlier]
