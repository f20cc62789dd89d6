"""Which protocol a folder of runs was trained under, when the user does not say."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd

from analysis.composing import composed
from analysis.protocol import Protocol, Spec, differing, make_protocol, place, text_of, varied_keys
from spfde_exp.config import identity
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import SweepFile, load_sweep, sweep_names
from spfde_exp.options import folder

Identity = dict[str, Any]

TRIED = 4  # protocols that may turn out to be one

# parts of an identity that the cells of one table may differ in under one protocol
PER_CELL = ("method", "sparsity", "freeze", "sieve")


def infer_overrides(table: str, frame: pd.DataFrame) -> tuple[str, ...]:
    """The protocol of the runs in `frame`, as overrides of the table's sweep.

    A run fits a table where its method, sparsity, freezing and sieving are those of a cell; its protocol is
    everything else. The answer is the paper's protocol, (), if any finished run is one of its cells or none
    fits the table; else the only protocol of all that fit. The recipe of another table is none of this one's, so
    that runs of Table 2 (CIFAR-100) do not turn up as Table A6 (CIFAR-10).

    Raises:
        UserError: the fitting runs have several protocols, or those of one cell differ; it names the keys.
    """
    sweep = load_sweep(table)
    if not sweep.cells:
        return ()
    if any(key.split(".")[0] not in PER_CELL for key in varied_keys(sweep)):
        return _of_recipes(sweep, frame)
    paper = _shared(_base(sweep, ()))
    groups: dict[str, list[Identity]] = defaultdict(list)
    for who in frame.loc[frame["test_acc"].notna()].drop_duplicates("cell")["identity"]:
        groups[text_of(_shared(who))].append(who)
    mine = [runs for runs in groups.values() if not _of_another_table(sweep, runs[0])]
    ranked = sorted(mine, key=lambda runs: (_shared(runs[0]) != paper, -len(runs)))
    if not ranked:
        return ()
    # the same under every protocol: the cells set them
    first = _possible(table, _spell(sweep, ranked[0][0])) or make_protocol(table)
    places = {place(cell.identity, first.setting) for cell in first.cells}
    known = {cell.key for cell in first.cells}
    if first.paper and frame.loc[frame["test_acc"].notna(), "cell"].isin(known).any():
        return ()
    fitting = [fit for runs in ranked if (fit := [who for who in runs if place(who, first.setting) in places])]
    if len(fitting) <= TRIED:
        fitting = [runs for runs in fitting if _possible(table, _spell(sweep, runs[0]))]
    if not fitting:
        return ()
    if len(fitting) > 1:
        return _covering(sweep, fitting)
    (runs,) = fitting
    return _exact(sweep, make_protocol(table, _spell(sweep, runs[0])), runs)


def _covering(sweep: SweepFile, fitting: Sequence[Sequence[Identity]]) -> tuple[str, ...]:
    """The one of several protocols that the runs of all have.

    A run that never changes its masks does not tell a schedule, and so seems to have a protocol of its own.
    """
    firsts = [_shared(runs[0]) for runs in fitting]
    keys = sorted({key for other in firsts[1:] for key in differing(firsts[0], other)})
    spelled = [_spell(sweep, runs[0]) for runs in fitting]
    if len(fitting) <= TRIED and all(key.startswith("dst.") for key in keys):
        for words in sorted(spelled, key=len):
            tried = make_protocol(sweep.id, words)
            if not any(differing(who, _cell_of(tried, who).identity) for runs in fitting for who in runs):
                return tried.overrides
    options = list(dict.fromkeys(" ".join(words) or f"recipe={sweep.base['recipe']}" for words in spelled))
    more = f", or one of {len(options) - TRIED} others" if len(options) > TRIED else ""
    raise UserError(
        f"the runs that fit {sweep.id} have {len(fitting)} protocols, which differ in {', '.join(keys)}; "
        f"choose one by adding {' or '.join(options[:TRIED])}{more}"
    )


def _possible(table: str, overrides: Sequence[str]) -> Protocol | None:
    """The table's cells under a protocol; None if one of them is impossible, such as a phase longer than the run."""
    try:
        return make_protocol(table, overrides)
    except UserError:
        return None


def _exact(sweep: SweepFile, start: Protocol, runs: Sequence[Identity]) -> tuple[str, ...]:
    """Overrides of `start` with what all `runs` have besides, such as freeze.bn=train."""
    others = [(who, keys) for who in runs if (keys := differing(who, _cell_of(start, who).identity))]
    if not others:
        return start.overrides
    if len(others) < len(runs) and _ablated().issuperset(key for _, keys in others for key in keys):
        return start.overrides  # the rest are another table's, such as Table A2's update ratios
    extra = {key: who[key] for who, keys in others for key in keys if key in who}
    overrides = [*start.overrides, *_settings(extra)]
    if "freeze.t_freeze" in extra and not any(word.startswith("dst.") for word in overrides):
        # an epoch is scaled from dst.base_epochs to epochs
        overrides += _settings({key: value for key, value in runs[0].items() if key.startswith("dst.")})
    answer = make_protocol(sweep.id, overrides)
    for who in runs:
        cell = _cell_of(answer, who)
        if keys := differing(who, cell.identity):
            told = [f"{k} ({text_of(who.get(k))} and {text_of(cell.identity.get(k))})" for k in keys]
            plain = " ".join(start.overrides) or f"recipe={sweep.base['recipe']}"
            raise UserError(
                f"the runs that fit {sweep.id} differ in {', '.join(told)}; "
                f"choose one protocol, by adding {plain} or {' '.join(overrides)}"
            )
    return answer.overrides


def _ablated() -> set[str]:
    """Configuration keys that the cells of some sweep file are about."""
    return {key for name in sweep_names() for cell in load_sweep(name).cells for key in cell if "." in key}


def _cell_of(protocol: Protocol, who: Identity) -> Spec:
    where = place(who, protocol.setting)
    return next(cell for cell in protocol.cells if place(cell.identity, protocol.setting) == where)


def _of_recipes(sweep: SweepFile, frame: pd.DataFrame) -> tuple[str, ...]:
    """The recipe under which runs are cells of a table that varies more than methods: its own if any run has it."""
    done = frame.loc[frame["test_acc"].notna()]
    known = set(done["cell"])
    if any(cell.key in known for cell in make_protocol(sweep.id).cells):
        return ()
    trained = {_data_and_batch(who) for who in done.drop_duplicates("cell")["identity"]}
    fitting = []
    for recipe in (f"recipe={name}" for name in _recipes() if name not in _papers()):
        if _data_and_batch(identity(composed((recipe,)))) not in trained:
            continue
        protocol = _possible(sweep.id, (recipe,))
        if protocol and any(cell.key in known for cell in protocol.cells):
            fitting.append(recipe)
    if len(fitting) > 1:
        raise UserError(
            f"the runs that fit {sweep.id} have {len(fitting)} protocols, which differ in recipe; "
            f"choose one by adding {' or '.join(fitting)}"
        )
    return tuple(fitting)


def _recipes() -> list[str]:
    return sorted(file.stem for file in folder("conf").glob("recipe/*.yaml"))


@cache
def _papers() -> frozenset[str]:
    """Recipes that sweep files name, but for the quick start, which is no paper's."""
    named = "".join(file.read_text(encoding="utf-8") for file in folder("sweeps").glob("*.yaml"))
    return frozenset(re.findall(r"\w+", " ".join(re.findall(r"\brecipe: (\[.*?\]|\w+)", named)))) - {"digits"}


def _of_another_table(sweep: SweepFile, who: Identity) -> bool:
    """Whether a run has the very recipe of another table; one whose masks never change tells no `dst`."""
    own = {settings.get("recipe") for settings in (sweep.base, *sweep.cells)}
    for name in _papers() - own:
        keys = differing(_shared(identity(composed((f"recipe={name}",)))), _shared(who))
        if all(key.startswith("dst.") for key in keys):
            return True
    return False


def _data_and_batch(who: Identity) -> tuple[Any, Any]:
    return who["dataset.name"], who["optim.batch_size"]


def _spell(sweep: SweepFile, who: Identity) -> tuple[str, ...]:
    """Overrides that turn the sweep file's protocol into the one of a run, as far as all cells share it."""
    if not differing(_shared(_base(sweep, ())), _shared(who)):
        return ()
    recipes = [f"recipe={file.stem}" for file in sorted(folder("conf").glob("recipe/*.yaml"))]

    def distance(recipe: str) -> int:
        keys = differing(_shared(_base(sweep, (recipe,))), _shared(who))
        return sum(key != "epochs" and not key.startswith("dst.") for key in keys)

    words = [min(recipes, key=distance)]
    if _base(sweep, words)["epochs"] != who["epochs"]:
        words.append(f"epochs={who['epochs']}")
    keys = differing(_shared(_base(sweep, words)), _shared(who))
    if any(key.startswith("dst.") for key in keys):
        # the schedule is scaled to the epochs: only all of it together means the same again
        keys = sorted({*keys, *(key for key in who if key.startswith("dst."))})
    return (*words, *_settings({key: who[key] for key in keys if key in who}))


def _base(sweep: SweepFile, overrides: Sequence[str]) -> Identity:
    """Identity of the sweep's first cell under `overrides`."""
    replaced = {word.partition("=")[0] for word in overrides}
    file = {key: value for key, value in (sweep.base | sweep.cells[0]).items() if key not in replaced}
    return identity(composed((*(f"{key}={value}" for key, value in file.items()), *overrides)))


def _shared(who: Identity) -> Identity:
    return {key: value for key, value in who.items() if key != "seed" and key.split(".")[0] not in PER_CELL}


def _settings(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={text_of(value)}" for key, value in values.items()]
