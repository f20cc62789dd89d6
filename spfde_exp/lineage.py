"""Runs that start from the result of another one, as each level of a lottery ticket does. Needs no torch."""

from dataclasses import replace

from spfde_exp.config import resolve
from spfde_exp.schema import Config, HooksConfig
from spfde_exp.sparse.methods import METHODS
from spfde_exp.store import RunFolder


def parent(config: Config) -> Config | None:
    """The run whose final weights that of the resolved `config` starts from; None where there is none.

    It differs in the sparsity only, and nothing watches it; at 0 it is the dense run.
    """
    level = METHODS[config.method.name].previous_level(config.sparsity.target, config.method)
    if level is None:
        return None
    earlier = replace(config, sparsity=replace(config.sparsity, target=level), hooks=HooksConfig(), force=False)
    return resolve(vars(earlier))


def lineage(config: Config) -> list[Config]:
    """All runs that have to be done before that of `config`, the first one first."""
    answer: list[Config] = []
    while (earlier := parent(config)) is not None:
        answer.insert(0, earlier)
        config = earlier
    return answer


def to_train(config: Config) -> list[Config]:
    """Those of `lineage` that have yet to be trained, the first one first.

    What comes before one that is done, or that goes on from a checkpoint, need not be there any more.
    """
    answer: list[Config] = []
    for earlier in reversed(lineage(config)):
        folder = RunFolder.of(earlier)
        if folder.summary() is not None:
            break
        answer.insert(0, earlier)
        if any(folder.path.glob("checkpoint*.pt")):
            break
    return answer
