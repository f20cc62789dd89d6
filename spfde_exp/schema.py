"""The typed configuration of one run. conf/ holds the values and says what each key means."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any


@dataclass
class Model:
    """`target`, `kwargs`, `allow` and `blocks` are read by model=custom only."""

    name: str
    width: float
    target: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    allow: list[str] = field(default_factory=list)
    blocks: Any = "auto"


@dataclass
class DatasetConfig:
    name: str
    root: str
    subset: int | None
    test_subset: int | None
    val_fraction: float
    split_seed: int
    pad: int
    flip: bool
    folder: str | None = None
    image_size: int | None = None
    workers: Any = 0


@dataclass
class MethodConfig:
    """`Method.reads` says which of these matter to a method; the others rest at the values below."""

    name: str
    init: str = "random"
    p: Any = "auto"
    importance_lambda: float = 0.0
    drop: float | None = None
    decay: str | None = None
    every_epochs: int | None = None
    every_steps: Any = None
    phases: list[float] | None = None
    until: float | None = None
    threshold: float | None = None
    temperature: Any = None
    l1: float | None = None
    examples: int | None = None
    per_class: int | None = None
    samples: int | None = None
    rounds: int | None = None
    rewind_epochs: int | None = None


@dataclass
class Sparsity:
    target: float
    scheme: str
    distribution: str
    prunable: str
    block: list[int] = field(default_factory=lambda: [4, 1])
    explicit: Any = None
    tolerance: float = 0.01


@dataclass
class Freeze:
    scheme: str
    target: float
    t_freeze: Any
    max_fraction: float
    bn: str
    accounting: str
    fraction: Any = None
    resume_epochs: Any = "auto"
    spacing: str = "cubic"
    scale_lr: bool = True
    intervals: int = 10
    percentile: float = 50.0
    fold: bool = True


@dataclass
class SieveConfig:
    mode: str
    ratio: float
    update_ratio: float = 0.0
    every: Any = "auto"
    never_learned: str = "hardest"
    phase1_epochs: Any = "auto"
    threshold: int | None = None
    count: int | None = None


@dataclass
class HooksConfig:
    similarity: bool = False
    cka: bool = False
    gradient_norms: bool = False
    unforgettable: bool = False
    examples: int = 256


@dataclass
class Optim:
    lr: float
    end_lr: float
    momentum: float
    weight_decay: float
    nesterov: bool
    batch_size: int
    schedule: str = "cosine"
    steps: list[float] = field(default_factory=lambda: [0.5, 0.75])
    warmup_epochs: int = 0
    label_smoothing: float = 0.0


@dataclass
class Dst:
    every: int
    milestones: list[int]
    stop: int
    base_epochs: int


@dataclass
class Logger:
    name: str
    mode: str
    project: str
    entity: str | None
    group: str | None
    tags: list[str]
    timeout_s: float


@dataclass
class Config:
    model: Model
    dataset: DatasetConfig
    method: MethodConfig
    sparsity: Sparsity
    freeze: Freeze
    sieve: SieveConfig
    optim: Optim
    logger: Logger
    dst: Dst
    epochs: int
    effort: float
    seed: int
    device: str
    threads: Any
    precision: str
    runs_dir: str
    checkpoint_every: int
    force: bool
    dry_run: Any
    hooks: HooksConfig = field(default_factory=HooksConfig)
    engine: str = "dense"
    compile: bool = False
    cuda_graphs: bool = True
    sweep: Any = field(default=None)  # the sweep files named by +sweep=, for W&B's group only


CHOICES: dict[str, tuple[str, ...]] = {
    "method.init": ("random", "magnitude"),
    "sparsity.scheme": ("unstructured", "filter", "channel", "block", "pattern", "hybrid"),
    "sparsity.distribution": ("uniform", "er", "erk", "proportional", "explicit"),
    "sparsity.prunable": ("convs_but_first", "block_3x3"),
    "freeze.scheme": (
        "none",
        "single_shot",
        "single_shot_resume",
        "periodic",
        "delayed_periodic",
        "freezeout",
        "autofreeze",
    ),
    "freeze.bn": ("eval", "train"),
    "freeze.accounting": ("flat", "trained"),
    "freeze.spacing": ("cubic", "linear"),
    "sieve.mode": ("none", "circular", "two_phase"),
    "sieve.never_learned": ("hardest", "zero"),
    "optim.schedule": ("cosine", "step"),
    "logger.name": ("wandb", "none"),
    "logger.mode": ("offline", "online", "disabled"),
    "precision": ("fp32", "tf32", "bf16"),
    "engine": ("dense", "sparse", "auto"),
}

# key -> (allowed, what to say). Bounds of keys that scale or combine are checked in config.resolve.
BOUNDS: dict[str, tuple[str, Any]] = {
    "model.width": ("a number above 0", lambda v: v > 0),
    "model.target": ("null or package.module.callable", lambda v: v is None or re.fullmatch(r"\w+(\.\w+)+", v)),
    "model.blocks": ("auto or a list of lists of names of modules", lambda v: v == "auto" or _names(v)),
    "dataset.subset": ("null or a whole number above 0", lambda v: v is None or v > 0),
    "dataset.test_subset": ("null or a whole number above 0", lambda v: v is None or v > 0),
    "dataset.val_fraction": ("a number from 0 up to, not including, 1", lambda v: 0 <= v < 1),
    "dataset.pad": ("a whole number from 0", lambda v: v >= 0),
    "dataset.image_size": ("null or a whole number above 0", lambda v: v is None or v > 0),
    "dataset.workers": ("auto or a whole number from 0", lambda v: v == "auto" or _whole(v) and v >= 0),
    "method.p": ("auto or a number above 0 and below 1", lambda v: v == "auto" or _real(v) and 0 < v < 1),
    "method.importance_lambda": ("a number from 0", lambda v: v >= 0),
    "method.drop": ("a number above 0 and below 1", lambda v: v is None or 0 < v < 1),
    "method.decay": ("constant or cosine", lambda v: v in (None, "constant", "cosine")),
    "method.every_epochs": ("a whole number above 0", lambda v: v is None or v > 0),
    "method.every_steps": (
        "a whole number above 0, or one for each of method.phases",
        lambda v: v is None or _whole(v) and v > 0 or isinstance(v, list) and all(_whole(n) and n > 0 for n in v),
    ),
    "method.phases": (
        "rising shares of training from 0 below 1",
        lambda v: v is None or v == sorted(v) and all(0 <= part < 1 for part in v) and v[:1] == [0],
    ),
    "method.until": ("a number above 0 up to 1", lambda v: v is None or 0 < v <= 1),
    "method.threshold": ("a number above 0", lambda v: v is None or v > 0),
    "method.temperature": (
        "a number above 0, or one from 0 for each of method.phases",
        lambda v: v is None or _real(v) and v > 0 or isinstance(v, list) and all(_real(t) and t >= 0 for t in v),
    ),
    "method.l1": ("a number from 0", lambda v: v is None or v >= 0),
    "method.examples": ("a whole number above 0", lambda v: v is None or v > 0),
    "method.per_class": ("a whole number above 0", lambda v: v is None or v > 0),
    "method.samples": ("a whole number above 0", lambda v: v is None or v > 0),
    "method.rounds": ("a whole number above 0", lambda v: v is None or v > 0),
    "method.rewind_epochs": ("a whole number from 0", lambda v: v is None or v >= 0),
    "sparsity.target": ("a number from 0 up to, not including, 1", lambda v: 0 <= v < 1),
    "sparsity.block": ("two whole numbers above 0, such as [4,1]", lambda v: len(v) == 2 and min(v) > 0),
    "sparsity.explicit": (
        "a sparsity from 0 below 1 for each kernel size, such as {3x3:0.95,1x1:0.85}",
        lambda v: v is None or isinstance(v, dict) and all(_real(s) and 0 <= s < 1 for s in v.values()),
    ),
    "sparsity.tolerance": ("a number from 0 to 1", lambda v: 0 <= v <= 1),
    "freeze.target": ("a number from 0 up to, not including, 1", lambda v: 0 <= v < 1),
    "freeze.t_freeze": ("auto or a whole number above 0", lambda v: v == "auto" or _whole(v) and v > 0),
    "freeze.max_fraction": ("a number above 0 up to 1", lambda v: 0 < v <= 1),
    "freeze.fraction": ("null, a number above 0 up to 1, or a share such as 2/3", lambda v: v is None or _share(v)),
    "freeze.resume_epochs": ("auto or a whole number above 0", lambda v: v == "auto" or _whole(v) and v > 0),
    "freeze.intervals": ("a whole number above 1", lambda v: v > 1),
    "freeze.percentile": ("a number from 0 to 100", lambda v: 0 <= v <= 100),
    "sieve.ratio": ("a number from 0 up to, not including, 1", lambda v: 0 <= v < 1),
    "sieve.update_ratio": ("a number from 0 to 1", lambda v: 0 <= v <= 1),
    "sieve.every": ("auto or a whole number above 0", lambda v: v == "auto" or _whole(v) and v > 0),
    "sieve.phase1_epochs": ("auto or a whole number above 0", lambda v: v == "auto" or _whole(v) and v > 0),
    "sieve.threshold": ("null or a whole number from 0 to 32766", lambda v: v is None or 0 <= v < 2**15 - 1),
    "sieve.count": ("null or a whole number above 0", lambda v: v is None or v > 0),
    "optim.lr": ("a number above 0", lambda v: v > 0),
    "optim.end_lr": ("a number from 0", lambda v: v >= 0),
    "optim.momentum": ("a number from 0 up to, not including, 1", lambda v: 0 <= v < 1),
    "optim.weight_decay": ("a number from 0", lambda v: v >= 0),
    "optim.batch_size": ("a whole number above 0", lambda v: v > 0),
    "optim.steps": ("a list of numbers above 0 and below 1", lambda v: all(0 < step < 1 for step in v)),
    "optim.warmup_epochs": ("a whole number from 0", lambda v: v >= 0),
    "optim.label_smoothing": ("a number from 0 up to, not including, 1", lambda v: 0 <= v < 1),
    "hooks.examples": ("a whole number from 4", lambda v: v >= 4),
    "logger.timeout_s": ("a number of seconds above 0", lambda v: v > 0),
    "dst.every": ("a whole number above 0", lambda v: v > 0),
    "dst.milestones": ("a list of whole numbers from 0", lambda v: all(m >= 0 for m in v)),
    "dst.stop": ("a whole number from 0", lambda v: v >= 0),
    "dst.base_epochs": ("a whole number above 0", lambda v: v > 0),
    "epochs": ("a whole number above 0", lambda v: v > 0),
    "effort": ("a number above 0", lambda v: v > 0),
    "seed": ("a whole number from 0 below 2^63", lambda v: 0 <= v < 2**63),
    "device": ("auto, cpu, cuda or cuda:n", lambda v: re.fullmatch(r"auto|cpu|cuda(:\d+)?", v) is not None),
    "threads": ("auto or a whole number above 0", lambda v: v == "auto" or _whole(v) and v > 0),
    "checkpoint_every": ("a whole number above 0", lambda v: v > 0),
    "dry_run": ("true, false or json", lambda v: v in (True, False, "json")),
}


def _real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _names(value: Any) -> bool:
    """A list of lists, none of them empty, of names."""
    lists = [value, *value] if isinstance(value, list) else [None]
    return all(isinstance(v, list) and v for v in lists) and all(isinstance(name, str) for v in value for name in v)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _share(value: Any) -> bool:
    """Whether it is a share above 0 up to 1, also as text such as ``2/3``."""
    if isinstance(value, str) and re.fullmatch(r"\d+/[1-9]\d*", value):
        return 0 < Fraction(value) <= 1
    return _real(value) and 0 < value <= 1
