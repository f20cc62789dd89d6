"""How long runs will take: as long per FLOP as past runs of their kind took, or as a short trial takes."""

import hashlib
import json
import math
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from spfde_exp.errors import UserError
from spfde_exp.files import cache_folder, read_json, write_atomic
from spfde_exp.launch.slots import Slot
from spfde_exp.progress import last_rows
from spfde_exp.schema import Config
from spfde_exp.store import RunFolder

CPU = "cpu"  # its name in meta.json
ANYWHERE = ("", None)
TRIALS_S = 4.0  # for all trials of one dry run; kinds that are left over stay unknown
FRESH_S = 86400.0  # a trial that is older is made again


@dataclass(frozen=True)
class Kind:
    """What decides how long a simulated FLOP takes.

    Attributes:
        device: the device's name, as in meta.json.
        threads: CPU threads; None on a GPU.
        engine: ``dense``, or the name of another and the sparsity, on which its pace depends.
    """

    model: str
    width: float
    dataset: str
    batch_size: int
    precision: str
    device: str
    threads: int | None
    engine: str


@dataclass(frozen=True)
class Pace:
    """Seconds per simulated FLOP, from finished runs or from a short trial."""

    seconds: float
    tried: bool = False


def expected_paces(configs: Sequence[Config], slot: Slot | None, trials: bool = False) -> list[Pace | None]:
    """How fast each run trains on a slot like `slot`; None where nothing tells.

    Past runs in `runs_dir` tell, of the same model, width, data set, batch size, precision, engine and device (on
    the CPU: and threads), and not packed with others on their device.

    Args:
        slot: None where the device is not known here, as on a cluster: past runs on any device tell.
        trials: where there is none, train a few steps, and keep what they took in the user's cache folder.
    """
    kinds = [_kind(asdict(config), *_place(config, slot)) for config in configs]
    paces = {runs_dir: past_paces(Path(runs_dir), slot is None) for runs_dir in {c.runs_dir for c in configs}}
    past = [paces[config.runs_dir].get(kind) for config, kind in zip(configs, kinds, strict=True)]
    unknown = {kind: config for config, kind, pace in zip(configs, kinds, past, strict=True) if pace is None}
    tried = _tried(unknown) if trials and slot is not None else {}
    return [Pace(pace) if pace else tried.get(kind) for pace, kind in zip(past, kinds, strict=True)]


def epochs_done(config: Config) -> int:
    """Epochs that a run has behind it when it goes on; 0 where it begins anew, or is done."""
    folder = RunFolder.of(config)
    if config.force or folder.summary() is not None or not any(folder.path.glob("checkpoint*.pt")):
        return 0
    epochs = sum(int(row["epoch"]) + 1 for row in last_rows(folder.file("metrics.jsonl"), 1))
    return epochs // config.checkpoint_every * config.checkpoint_every


def longest_first(configs: Sequence[Config], slot: Slot | None) -> tuple[list[int], list[float | None]]:
    """The order in which to start runs, as indices, and the seconds that each takes; None where no past run tells.

    A run that no past run tells of is taken to be as fast per FLOP as the others; if none tells, FLOPs decide. What is
    left of a run counts, where it has begun.
    """
    from spfde_exp.plan import make_plan

    paces = expected_paces(configs, slot)
    flops = [make_plan(config).simulated_flops(epochs_done(config)) for config in configs]
    usual = median([pace.seconds for pace in paces if pace] or [1.0])
    length = [count * (pace.seconds if pace else usual) for pace, count in zip(paces, flops, strict=True)]
    seconds = [known if pace else None for pace, known in zip(paces, length, strict=True)]
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
    name, engine = config["dataset"]["name"], config.get("engine", "dense")
    if engine != "dense":
        engine = f"{engine} at {config['sparsity']['target']}"
    return Kind(model["name"], model["width"], name, batch_size, config["precision"], device, threads, engine)


def _place(config: Config, slot: Slot | None) -> tuple[str, int | None]:
    """Device and threads of a run."""
    if slot is None:
        return ANYWHERE
    if slot.gpu is None:
        return CPU, slot.threads if config.threads == "auto" else int(config.threads)
    import torch

    return torch.cuda.get_device_name(int(config.device[5:]) if config.device.startswith("cuda:") else 0), None


# -- trials


def _tried(wanted: Mapping[Kind, Config]) -> dict[Kind, Pace]:
    """Pace of each kind, from the cache folder or a trial; those that cannot be tried are left out."""
    answer, end = {}, time.monotonic() + TRIALS_S
    for kind, config in wanted.items():
        pace, fresh = _cached(kind)
        if not fresh and time.monotonic() < end:
            from spfde_exp.launch.trial import trial_pace

            with suppress(Exception):  # no such device, not enough memory: whatever it is, the plan goes on
                pace = min(trial_pace(config, kind.threads), pace or math.inf)  # a busy machine is only slower
                _keep(kind, pace)
        if pace is not None:
            answer[kind] = Pace(pace, tried=True)
    return answer


def _cached(kind: Kind) -> tuple[float | None, bool]:
    """Pace of a kind, and whether it was measured within a day."""
    kept = read_json(_file(kind)) or {}
    pace, measured = kept.get("seconds_per_flop"), kept.get("measured")
    if not isinstance(pace, float) or not pace > 0 or not isinstance(measured, float):
        return None, False
    return pace, 0 <= time.time() - measured < FRESH_S


def _keep(kind: Kind, pace: float) -> None:
    path, content = _file(kind), {"seconds_per_flop": pace, "measured": time.time(), **asdict(kind)}
    with suppress(OSError):  # a cache that cannot be written is none
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(content | _versions(kind), indent=1) + "\n")


def _file(kind: Kind) -> Path:
    text = json.dumps([astuple(kind), _versions(kind)], sort_keys=True)
    return cache_folder() / f"pace-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def _versions(kind: Kind) -> dict[str, str]:
    """What else a trial's result depends on; the CPUs of hosts that share a home folder may differ."""
    import torch

    return {"torch": torch.__version__, **({"host": socket.gethostname()} if kind.threads else {})}
