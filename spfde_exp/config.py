"""From a composed configuration to a typed, resolved one with an identity. Needs neither torch nor a GPU."""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, fields, is_dataclass, make_dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spfde_exp.data.specs import source_of
from spfde_exp.errors import UserError
from spfde_exp.freeze.settings import IN_STEP, resolve_freeze
from spfde_exp.rounding import round_half_up, share_of, to_interval
from spfde_exp.schema import BOUNDS, CHOICES, Config, DatasetConfig, HooksConfig, MethodConfig, Model, Optim
from spfde_exp.sieve.settings import resolve_sieve
from spfde_exp.sparse.methods import METHODS

SCHEMA_VERSION = 1

# What cannot change the result: where, how watched, how launched, how spelled.
NOT_IDENTITY = (
    "device", "threads", "runs_dir", "checkpoint_every", "force", "dry_run", "sweep", "logger", "dataset.root",
    "dataset.workers", "effort", "model.allow", "sparsity.tolerance", "cuda_graphs", "engine",
)  # fmt: skip

KINDS = {"integer": "a whole number", "float": "a number", "bool": "true or false"}

# Keys added after schema version 1 -> the value at which a run is what it was before the key existed. A key at
# that value is left out of the identity, so that old signatures stay.
NEUTRAL: dict[str, Any] = {
    "model.target": None,
    "model.blocks": "auto",
    "sparsity.block": [4, 1],
    "sparsity.explicit": None,
    **{f"method.{key.name}": key.default for key in fields(MethodConfig) if key.default is None},
    "dataset.test_subset": None,
    "dataset.folder": None,
    "dataset.image_size": None,
    "optim.schedule": "cosine",
    "optim.steps": [],
    "optim.warmup_epochs": 0,
    "optim.label_smoothing": 0.0,
    "freeze.fraction": None,
    "freeze.resume_epochs": "auto",
    "freeze.spacing": "cubic",
    "freeze.scale_lr": True,
    "freeze.intervals": 10,
    "freeze.percentile": 50.0,
    "freeze.fold": True,
    "sieve.phase1_epochs": "auto",
    "sieve.threshold": None,
    "sieve.count": None,
    **{f"hooks.{key.name}": key.default for key in fields(HooksConfig)},
    "compile": False,
}

_PARTS: dict[tuple[str, str], Any] = {}  # top-level key and its value as text -> the value converted


def compose(overrides: Sequence[str] = ()) -> Config:
    """The resolved configuration that the command line would make of `overrides`, for tests and notebooks."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from spfde_exp.options import accept_numbers, folder

    accept_numbers()
    with initialize_config_dir(config_dir=str(folder("conf")), version_base="1.3"):
        return resolve(hydra_compose("config", overrides=list(overrides)))


def typed(raw: DictConfig | Mapping[str, Any]) -> Config:
    """`raw` as a `Config`, every value of its type and in its range.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type, or one that is impossible.
    """
    try:
        plain = OmegaConf.to_container(raw, resolve=True) if isinstance(raw, DictConfig) else dict(raw)
        assert isinstance(plain, dict)
        plain.pop("hydra", None)
        config = to_schema(plain)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    values = {key: part for group, value in vars(config).items() for key, part in _keys(group, value).items()}
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            raise UserError(f"{key}={values[key]} is unknown; allowed: {', '.join(choices)}")
    for key, (rule, holds) in BOUNDS.items():
        if isinstance(values[key], float) and not math.isfinite(values[key]) or not holds(values[key]):
            raise UserError(f"{key}={values[key]} is impossible; allowed: {rule}")
    _check_dataset(config.dataset)
    if config.optim.nesterov and config.optim.momentum == 0:
        raise UserError("optim.nesterov=true needs momentum; set optim.momentum above 0, or optim.nesterov=false")
    if config.method.name not in METHODS:
        raise UserError(f"method={config.method.name} is unknown; allowed: {', '.join(METHODS)}")
    return config


def _keys(group: str, value: Any) -> dict[str, Any]:
    return {f"{group}.{key}": part for key, part in vars(value).items()} if is_dataclass(value) else {group: value}


def to_schema(plain: Mapping[Any, Any]) -> Config:
    """OmegaConf's conversion to the schema, key by key: runs of a sweep differ in few, and each costs a millisecond."""
    parts = {}
    try:
        for key, value in plain.items():
            text = repr(value)
            if key not in _schemas() or "${" in text:  # an unknown key, or one that looks at others
                break
            if (key, text) not in _PARTS:
                _PARTS[key, text] = getattr(OmegaConf.to_object(OmegaConf.merge(_schemas()[key], {key: value})), key)
            parts[key] = deepcopy(_PARTS[key, text])
        else:
            return Config(**parts)
    except (OmegaConfBaseException, TypeError):  # wrong, or missing: as a whole, which tells the first error
        pass
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    assert isinstance(config, Config)
    return config


@cache
def _schemas() -> dict[str, Any]:
    """Top-level key -> schema with this key alone."""
    return {f.name: OmegaConf.structured(make_dataclass("Config", [(f.name, f.type)])) for f in fields(Config)}


def resolve(raw: DictConfig | Mapping[str, Any]) -> Config:
    """`raw` typed, with all that follows from other keys written out, so that equal runs look equal.

    Epochs are multiplied by the effort and the schedule is scaled to them; `auto` becomes its value where that is
    known without building the model; what a method, or a switched-off part, never reads gets one fixed value.
    Resolving twice changes nothing.

    Raises:
        UserError: as `typed`; or values that contradict each other.
    """
    config = typed(raw)
    config.epochs, config.effort = max(1, share_of(config.epochs, config.effort)), 1.0
    config.sparsity.target = round(config.sparsity.target, 10)
    if isinstance(config.sweep, dict):  # +sweep=A8,A9 as Hydra merges it
        config.sweep = list(config.sweep)
    if config.logger.name == "none":
        config.logger.mode = "disabled"
    _resolve_dataset(config.dataset)
    _resolve_model(config.model)
    _resolve_method(config)
    _resolve_schedule(config)
    _check_engine(config)
    if not config.hooks.cka:
        config.hooks.examples = HooksConfig.examples
    return config


def _check_engine(config: Config) -> None:
    for said, impossible in (("precision=bf16", config.precision == "bf16"), ("compile=true", config.compile)):
        if config.engine == "sparse" and impossible:
            raise UserError(f"engine=sparse is impossible with {said}; leave that out, or use engine=auto or dense")


def _resolve_model(model: Model) -> None:
    if model.name != "custom":
        model.target, model.kwargs, model.allow, model.blocks = None, {}, [], "auto"
    elif model.target is None:
        raise UserError("model=custom needs model.target=package.module.callable, such as torchvision.models.resnet18")
    elif model.width != 1:
        raise UserError(f"model.width={model.width:g} is impossible with model=custom; set its size by model.kwargs")


def _resolve_method(config: Config) -> None:
    sparsity = config.sparsity
    if not METHODS[config.method.name].sparse or sparsity.target == 0:
        config.method.name, sparsity.target = "dense", 0.0
        sparsity.scheme, sparsity.distribution = "unstructured", "uniform"
        sparsity.prunable = CHOICES["sparsity.prunable"][0]
    method = METHODS[config.method.name]
    if method.schemes and sparsity.scheme not in method.schemes:
        free = ", ".join(name for name, other in METHODS.items() if other.sparse and not other.schemes)
        raise UserError(
            f"method={method.name} chooses single weights, so sparsity.scheme={sparsity.scheme} is impossible; "
            f"allowed: {', '.join(method.schemes)}, or one of the methods {free}"
        )
    for key in fields(MethodConfig):
        if key.name != "name" and key.name not in method.reads:
            setattr(config.method, key.name, key.default)
    method.check_settings(config.method)
    if "p" in method.reads:
        config.method.p = method.mutation_ratio(sparsity.target, config.method.p)
    if method.ranks_globally:
        sparsity.distribution = "uniform"  # what counts is the number of weights of all layers together
    if sparsity.distribution == "explicit":
        sparsity.explicit = {size: round(float(part), 10) for size, part in (sparsity.explicit or {}).items()}
    else:
        sparsity.explicit = None
    if sparsity.scheme == "hybrid" and sparsity.prunable == "block_3x3":
        sparsity.scheme = "pattern"  # the same by another name
    if sparsity.scheme not in ("block", "hybrid"):
        sparsity.block = [4, 1]


def _resolve_schedule(config: Config) -> None:
    dst, freeze = config.dst, config.freeze
    scale, every = config.epochs / dst.base_epochs, dst.every
    resolve_sieve(config.sieve, config.epochs, scale, every)
    _resolve_optim(config.optim, config.epochs, scale)
    keeps_step = METHODS[config.method.name].uses_dst or freeze.scheme in IN_STEP
    resolve_freeze(freeze, config.model.name, config.epochs, scale, every if keeps_step else 1)
    dst.milestones = sorted(to_interval(epoch * scale, every) for epoch in dst.milestones)
    dst.stop = min(to_interval(dst.stop * scale, every), (config.epochs - 1) // every * every)
    dst.base_epochs = config.epochs
    if not METHODS[config.method.name].uses_dst:
        dst.milestones, dst.stop = [], 0
        if freeze.scheme not in IN_STEP:
            dst.every = 1


def _check_dataset(data: DatasetConfig) -> None:
    if source_of(data.name).files and data.image_size is None:
        raise UserError(f"dataset.image_size=null is impossible with dataset={data.name}; allowed: pixels, such as 224")
    if data.name == "folder" and not data.folder:
        raise UserError("dataset.folder has no value; set dataset.folder=NAME, and dataset.root to where it lies")


def _resolve_dataset(data: DatasetConfig) -> None:
    if data.subset is None and data.test_subset is None and data.val_fraction == 0:
        data.split_seed = 0
    if source_of(data.name).files:
        data.pad = 0  # crops are taken from the image, in any size
    else:
        data.image_size, data.workers = None, 0
    if data.name != "folder":
        data.folder = None


def _resolve_optim(optim: Optim, epochs: int, scale: float) -> None:
    optim.warmup_epochs = min(round_half_up(optim.warmup_epochs * scale), epochs - 1)
    if optim.schedule == "step":
        optim.steps, optim.end_lr = sorted(optim.steps), 0.0
    else:
        optim.steps = []


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


@cache
def _decides(key: str) -> bool:
    return not any(key == out or key.startswith(f"{out}.") for out in NOT_IDENTITY)


def identity(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    """The flat, sorted part of a resolved configuration that decides the result."""
    tree = asdict(config) if isinstance(config, Config) else config
    keep = {
        key: value
        for key, value in flatten(tree).items()
        if _decides(key) and not (key in NEUTRAL and value == NEUTRAL[key])
    }
    return dict(sorted(keep.items()))


def signature(config: Config | Mapping[str, Any]) -> str:
    """Name of a run: 16 hexadecimal digits of the SHA-256 over its identity and the schema version."""
    text = json.dumps([SCHEMA_VERSION, identity(config)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def explain(error: Exception) -> str:
    """One line for an error of OmegaConf or Hydra: what was wrong, what is allowed."""
    full_key = str(getattr(error, "full_key", "") or "")
    text = " ".join(str(error).split("full_key:")[0].split())
    if found := re.search(r"Value '(.*?)'(?: of type '\w+')? (?:could not be converted to|is not a valid) (\w+)", text):
        value, kind = found.groups()
        return f"{full_key}={value} is not {KINDS.get(kind.lower(), kind)}"
    if "is not a ListConfig" in text:
        return f"{full_key} takes a list, such as {full_key}=[1,2]"
    if "Incompatible value 'None'" in text:
        return f"{full_key}=null is impossible; it needs a value"
    if "not in" in text and full_key:
        near = difflib.get_close_matches(full_key, known_keys(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"unknown key '{full_key}'{hint} (--cfg job prints all keys)"
    if "RecursionError" in text or "Recursive interpolation" in text:
        return f"{full_key} refers to itself; give it a value, or refer to another key"
    if "Missing mandatory value" in text or "MissingMandatoryValue" in type(error).__name__:
        return f"{full_key} has no value; set {full_key}=..., or choose a recipe or option that sets it"
    return f"{full_key}: {text}" if full_key else text


def known_keys() -> list[str]:
    """Every configuration key, dotted."""
    keys = []
    for group in fields(Config):
        keys.append(group.name)
        if isinstance(group.type, type) and is_dataclass(group.type):
            keys += [f"{group.name}.{key.name}" for key in fields(group.type)]
    return keys
