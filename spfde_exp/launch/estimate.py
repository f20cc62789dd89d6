"""How long runs will take: as long per FLOP as past runs of their kind took, or as a short trial takes."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from spfde_exp.errors import UserError
from spfde_exp.launch.slots import Slot
from spfde_exp.schema import Config
from spfde_exp.store import RunFolder, read_json, write_atomic

CPU = "cpu"  # its name in meta.json
ANYWHERE = ("", None)
TRIALS_S = 4.0  # for all trials of one dry run; kinds that are left over stay unknown


@dataclass(frozen=True)
class Kind:
    """What decides how long a simulated FLOP takes.

    Attributes:
        device: the device's name, as in meta.json.
        threads: CPU threads; None on a GPU.
    """

    model: str
    width: float
    dataset: str
    batch_size: int
    precision: str
    device: str
    threads: int | None


def expected_seconds(configs: Sequence[Config], slot: Slot | None, trials: bool = False) -> list[float | None]:
    """Seconds of training that each run takes on a slot like `slot`; None where nothing tells.

    Past runs in `runs_dir` tell, of the same model, width, data set, batch size, precision and device (on the CPU:
    and threads), and not packed with others on their device.

    Args:
        slot: None where the device is not known here, as on a cluster: past runs on any device tell.
        trials: where there is none, train a few steps, and keep what they took in the user's cache folder.
    """
    from spfde_exp.plan import make_plan

    flops = [make_plan(config).prediction()["train_flops_simulated"] for config in configs]
    kinds = [_kind(asdict(config), *_place(config, slot)) for config in configs]
    paces = {runs_dir: past_paces(Path(runs_dir), slot is None) for runs_dir in {c.runs_dir for c in configs}}
    known = [paces[config.runs_dir].get(kind) for config, kind in zip(configs, kinds, strict=True)]
    if trials and slot is not None:
        tried = _tried({kind: config for config, kind, pace in zip(configs, kinds, known, strict=True) if pace is None})
        known = [pace or tried.get(kind) for pace, kind in zip(known, kinds, strict=True)]
    return [None if pace is None else pace * count for pace, count in zip(known, flops, strict=True)]


def longest_first(configs: Sequence[Config], slot: Slot | None) -> tuple[list[int], list[float | None]]:
    """The order in which to start runs, as indices, and what `expected_seconds` says of each.

    A run that no past run tells of is taken to be as fast per FLOP as the others; if none tells, FLOPs decide.
    """
    from spfde_exp.plan import make_plan

    seconds = expected_seconds(configs, slot)
    flops = [make_plan(config).prediction()["train_flops_simulated"] for config in configs]
    paces = [known / count for known, count in zip(seconds, flops, strict=True) if known is not None]
    pace = median(paces) if paces else 1.0
    length = [pace * count if known is None else known for known, count in zip(seconds, flops, strict=True)]
    return sorted(range(len(configs)), key=lambda index: -length[index]), seconds


def past_paces(runs_dir: Path, anywhere: bool = False) -> dict[Kind, float]:
    """Seconds per simulated FLOP, median of the finished runs of each kind in a folder.

    Args:
        anywhere: count all devices as one.
    """
    paces: dict[Kind, list[float]] = {}
    for path in runs_dir.glob("*/summary.json"):
        folder = RunFolder(path.parent)
        with suppress(UserError, KeyError, TypeError, ZeroDivisionError):  # a foreign folder tells nothing
            meta, summary = folder.json("meta") or {}, folder.summary() or {}
            if meta.get("runs_per_device", 1) == 1:
                place = (meta["device_name"], meta["threads"] if meta["device_name"] == CPU else None)
                kind = _kind(folder.config() or {}, *(ANYWHERE if anywhere else place))
                pace = summary["train_time_s"] / summary["train_flops_simulated"]
                paces.setdefault(kind, []).append(pace)
    return {kind: median(found) for kind, found in paces.items()}


def _kind(config: Mapping[str, Any], device: str, threads: int | None) -> Kind:
    model, batch_size = config["model"], config["optim"]["batch_size"]
    name = config["dataset"]["name"]
    return Kind(model["name"], model["width"], name, batch_size, config["precision"], device, threads)


def _place(config: Config, slot: Slot | None) -> tuple[str, int | None]:
    """Device and threads of a run."""
    if slot is None:
        return ANYWHERE
    if slot.gpu is None:
        return CPU, slot.threads if config.threads == "auto" else int(config.threads)
    import torch

    return torch.cuda.get_device_name(int(config.device[5:]) if config.device.startswith("cuda:") else 0), None


# -- trials


def _tried(wanted: Mapping[Kind, Config]) -> dict[Kind, float]:
    """Pace of each kind, from the cache folder or a trial; those that cannot be tried are left out."""
    answer, end = {}, time.monotonic() + TRIALS_S
    for kind, config in wanted.items():
        pace = _cached(kind)
        if pace is None and time.monotonic() < end:
            from spfde_exp.launch.trial import trial_pace

            with suppress(Exception):  # no such device, not enough memory: whatever it is, the plan goes on
                pace = trial_pace(config, kind.threads)
                _keep(kind, pace)
        if pace is not None:
            answer[kind] = pace
    return answer


def _cached(kind: Kind) -> float | None:
    pace = (read_json(_file(kind)) or {}).get("seconds_per_flop")
    return pace if isinstance(pace, float) and pace > 0 else None


def _keep(kind: Kind, pace: float) -> None:
    path = _file(kind)
    with suppress(OSError):  # a cache that cannot be written is none
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"seconds_per_flop": pace, **asdict(kind), **_versions(kind)}, indent=1) + "\n")


def _file(kind: Kind) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spfde_exp"
    text = json.dumps([astuple(kind), _versions(kind)], sort_keys=True)
    return cache / f"pace-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def _versions(kind: Kind) -> dict[str, str]:
    """What else a trial's result depends on; the CPUs of hosts that share a home folder may differ."""
    import torch

    return {"torch": torch.__version__, **({"host": socket.gethostname()} if kind.threads else {})}
