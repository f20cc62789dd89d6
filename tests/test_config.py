"""Typed, resolved configurations, and the signature that names a run."""

import dataclasses
from copy import deepcopy
from dataclasses import asdict

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spfde_exp import config as module
from spfde_exp.config import compose, explain, flatten, identity, resolve, signature, to_interval, to_schema, typed
from spfde_exp.errors import UserError
from spfde_exp.options import folder
from spfde_exp.schema import Config
from spfde_exp.sparse.methods import METHODS

EQUAL = [
    (["freeze=0.15"], ["freeze.target=0.15"]),
    (["freeze=0"], ["freeze=none"]),
    (["freeze=0"], ["freeze=none", "freeze.bn=train", "freeze.t_freeze=7"]),
    (["sieve=0"], ["sieve=none"]),
    (["sparsity=0.9"], ["sparsity=unstructured", "sparsity.target=0.9"]),
    (["sparsity=0"], ["method=dense"]),
    (["sparsity=dense"], ["method=dense", "sparsity=0.95"]),
    (["effort=0.5"], ["epochs=40"]),
    (["recipe=cifar100", "effort=0.5"], ["recipe=cifar100", "epochs=80"]),
    (["recipe=cifar100", "freeze=0.15"], ["recipe=cifar100", "freeze=0.15", "freeze.t_freeze=70"]),
    (["model.width=0.5"], ["model.width=.50"]),
    (["sieve.every=auto"], ["sieve.every=5"]),
    (["method.p=auto"], ["method.p=0.05"]),
    (["method=static"], ["method=static", "dst.stop=20", "dst.milestones=[1]"]),
    ([], ["device=cpu", "threads=1", "runs_dir=elsewhere", "logger=none", "dataset.root=x", "checkpoint_every=5"]),
    ([], ["force=true", "dry_run=json", "logger.tags=[a]", "cuda_graphs=false"]),
    (["freeze.bn=train"], ["freeze.bn=train", "freeze.fold=false"]),
    (["freeze=none"], ["freeze=none", "freeze.fold=false"]),
]

DIFFERENT = [
    "seed=1", "sparsity=0.91", "freeze=0.16", "sieve=0.16", "method=mest_em", "model.width=1", "epochs=41",
    "optim.lr=0.2", "precision=bf16", "dataset.subset=1000", "dataset.val_fraction=0.1", "freeze.bn=train",
    "sieve.never_learned=zero", "sparsity.prunable=block_3x3", "method.importance_lambda=0", "freeze.t_freeze=10",
    "freeze.fold=false", "compile=true",
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_settings_have_equal_signatures(one, other):
    assert identity(compose(one)) == identity(compose(other))
    assert signature(compose(one)) == signature(compose(other))


def test_settings_that_change_the_result_change_the_signature():
    names = [signature(compose([override])) for override in ["seed=0", *DIFFERENT]]
    assert len(set(names)) == len(names)


def test_editing_a_default_changes_the_signature():
    config = compose()
    changed = dataclasses.replace(config, optim=dataclasses.replace(config.optim, momentum=0.8))
    assert signature(changed) != signature(config)


# Names of runs that exist: a change here makes every run on disk a stranger. Add, never edit.
KEPT = {
    (): "8a9bc4549611a036",
    ("recipe=cifar100",): "b3d2278b60367c0a",
    ("recipe=cifar10", "method=static", "sparsity=0.95", "freeze=none", "sieve=none", "seed=2"): "cfbd330190521dea",
}


@pytest.mark.parametrize(("overrides", "name"), KEPT.items())
def test_old_signatures_stay(overrides, name):
    assert signature(compose(overrides)) == name


def test_a_later_key_at_its_neutral_value_keeps_old_signatures(monkeypatch):
    tree = asdict(compose())
    before = signature(tree)
    tree["optim"]["added_later"] = 0
    assert signature(tree) != before
    monkeypatch.setitem(module.NEUTRAL, "optim.added_later", 0)
    assert signature(tree) == before
    tree["optim"]["added_later"] = 5
    assert signature(tree) != before


@pytest.mark.parametrize(
    "overrides",
    [[], ["recipe=cifar100"], ["recipe=cifar10", "epochs=10"], ["method=static"], ["sparsity=0"], ["freeze=0"]],
)
def test_resolving_twice_changes_nothing(overrides):
    once = compose(overrides)
    assert resolve(asdict(once)) == once
    assert resolve(yaml.safe_load(yaml.safe_dump(asdict(once)))) == once


LEAVES = sorted(flatten(asdict(compose(["freeze=none"]))))
VALUES = [
    0,
    1,
    3.0,
    2.5,
    -1,
    True,
    None,
    "auto",
    "3",
    "x",
    "???",
    "${seed}",
    "${oc.select:epochs,5}",
    [],
    [1],
    ["a"],
    {},
]


@settings(max_examples=60)
@example({"epochs": "${oc.select:epochs,5}"})  # the recursion's message depends on the stack's depth
@given(st.dictionaries(st.sampled_from([*LEAVES, "typo", "optim.typo"]), st.sampled_from(VALUES), max_size=3))
def test_conversion_is_omegaconfs(changes):
    tree = asdict(BASE)
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        target = tree[group] if group else tree
        if isinstance(target, dict):
            target[name] = value
    try:
        expected = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), deepcopy(tree)))
    except OmegaConfBaseException as error:
        with pytest.raises(OmegaConfBaseException) as told:
            to_schema(tree)
        assert explain(told.value) == explain(error)
    else:
        assert to_schema(tree) == expected


def test_configurations_share_nothing():
    one = typed(asdict(BASE))
    one.dst.milestones.append(7)
    one.optim.lr = 5.0
    assert typed(asdict(BASE)) == BASE


@given(st.integers(1, 400), st.sampled_from([1, 2, 5]))
def test_the_schedule_scales_with_the_epochs(epochs, every):
    tree = asdict(BASE) | {"epochs": epochs}
    tree["dst"] = {"every": every, "milestones": [90], "stop": 120, "base_epochs": 160}
    dst = resolve(tree).dst
    assert dst.stop % every == 0
    assert dst.stop < epochs
    assert all(m % every == 0 and abs(m - 90 * epochs / 160) <= every / 2 for m in dst.milestones)


BASE = compose(["freeze=none"])


def test_halves_go_up_to_the_next_interval():
    assert [to_interval(epoch, 5) for epoch in (0, 2.4, 2.5, 7.4, 7.5)] == [0, 0, 5, 5, 10]


def test_table_a3():
    config = compose(["recipe=cifar100"])
    assert (config.epochs, config.dst.every, config.dst.milestones, config.dst.stop) == (160, 5, [90], 120)
    optim = config.optim
    assert (optim.batch_size, optim.lr, optim.end_lr) == (32, 0.15, 4e-8)
    assert (optim.momentum, optim.weight_decay) == (0.9, 1e-4)
    assert (config.model.name, config.model.width, config.dataset.name) == ("resnet32", 2, "cifar100")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+typo=1"], "unknown key 'typo'"),
        (["+optim.lrr=1"], "did you mean optim.lr"),
        (["optim.lr=-1"], "optim.lr=-1.0 is impossible; allowed: a number above 0"),
        (["epochs=1.5"], "epochs=1.5 is not a whole number"),
        (["epochs=${seed}", "seed=${epochs}"], "refers to itself"),
        (["epochs=${oc.select:epochs,5}"], "epochs refers to itself; give it a value"),
        (["freeze.bn=off"], "freeze.bn=off is unknown; allowed: eval, train"),
        (["freeze.t_freeze=80"], "freeze.t_freeze=80 is not before the last of 80 epochs"),
        (["method=mest_em", "method.p=0.1"], "would remove every weight"),
        (["method.p=0.95"], "more than sparsity=0.9 leaves to grow"),
        (["dataset.val_fraction=1"], "dataset.val_fraction=1.0 is impossible"),
        (["optim.lr=inf"], "optim.lr=inf is impossible"),
    ],
)
def test_impossible_values_are_told_in_one_line(overrides, message):
    with pytest.raises(UserError) as error:
        compose(overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def options() -> list[str]:
    files = [path for path in folder("conf").glob("*/*.yaml") if path.parent.name != "hydra"]
    return [f"{path.parent.name}={path.stem}" for path in sorted(files)]


NEEDS = {
    "sparsity=unstructured": "sparsity.target=0.5",
    "model=custom": "model.target=torchvision.models.alexnet",
    "dataset=folder": "dataset.folder=pets",
}


@pytest.mark.parametrize("option", options())
def test_every_option_composes(option):
    assert signature(compose([option, *([NEEDS[option]] if option in NEEDS else [])]))


MEST = ("mest", "mest_em", "mest_ems")
# recipe -> method keys that it sets, and for whom: its header says so
OF_METHODS = {
    "grasp_cifar100": {"grasp": {"per_class": 5, "samples": 2}},
    "imagenet": {name: {"importance_lambda": 0.001} for name in MEST},
    "mest_cifar10": {name: {"importance_lambda": 0.01} for name in MEST},
    "mest_cifar100": {name: {"importance_lambda": 0.01} for name in MEST},
    "mest_imagenet": {name: {"importance_lambda": 0.001} for name in MEST},
}


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (folder("conf") / "recipe").glob("*.yaml")))
def test_recipes_leave_the_keys_of_other_methods_alone(recipe):
    """A recipe's keys win over the method's: those that a method reads are meant for it."""
    given = OmegaConf.load(folder("conf") / "recipe" / f"{recipe}.yaml").get("method", {})
    for name, method in METHODS.items():
        read = {key: value for key, value in given.items() if key in method.reads}
        assert read == OF_METHODS.get(recipe, {}).get(name, {})


def test_the_sample_of_grasp_is_no_round_of_synflow():
    synflow, grasp = (compose(["recipe=grasp_cifar100", f"method={name}"]).method for name in ("synflow", "grasp"))
    assert (synflow.rounds, synflow.per_class, synflow.samples) == (100, None, None)
    assert (grasp.rounds, grasp.per_class, grasp.samples) == (None, 5, 2)
