"""A network of one's own: named in the configuration, imported only where allowed, trained as any other."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spfde_exp.config import compose, identity, signature
from spfde_exp.errors import UserError
from spfde_exp.models.custom import build_custom, find_callable
from spfde_exp.plan import build_model, make_plan
from spfde_exp.run import train
from spfde_exp.store import RunFolder

OWN = """
from torch import nn
import torch


class Net(nn.Module):
    def __init__(self, num_classes, in_channels, channels=8, depth=4, drop=0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        convs = [nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
                               nn.Dropout(drop)) for _ in range(depth)]
        self.blocks = nn.ModuleList(convs)  # the name of our own method, which must not get in the way
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.conv1(x)
        for block in self.blocks:
            x = x + block(x)
        return self.fc(x.mean((2, 3)))


class Pair(Net):
    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


def fixed(): return Net(7, 1)
def number(): return 3
def broken(num_classes): raise ValueError("no\\nway")
draws = torch.rand(3)
from functools import reduce
"""
TINY = ["debug=tiny", "logger=none", "device=cpu", "threads=1"]
MINE = ["model=custom", "model.target=own_net.Net", "model.allow=[own_net]"]
SQUEEZE = ["recipe=cifar10", "model=custom", "model.target=torchvision.models.squeezenet1_1"]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_net.py").write_text(OWN)
    (tmp_path / "broken_net.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_net", None)


def error(*overrides: str) -> str:
    with pytest.raises(UserError) as told:
        make_plan(compose(["model=custom", *overrides]))
    assert "\n" not in str(told.value)
    return str(told.value)


# -- what it is called with


def test_it_is_called_with_the_data_set_s_sizes_and_kwargs() -> None:
    model = build_model(compose([*MINE, "+model.kwargs.channels=6", "+model.kwargs.depth=2"]))
    assert model.get_parameter("net.fc.weight").shape == (10, 6)
    assert model.get_parameter("net.conv1.weight").shape == (6, 1, 3, 3)
    assert len(model.blocks()) == 3  # type: ignore[operator]


def test_torchvision_needs_no_permission() -> None:
    plan = make_plan(compose(SQUEEZE))
    assert len(plan.freeze.blocks) == 8  # Fire modules; the last convolution is the classifier
    assert plan.prediction()["params"] == 727_626  # 1,235,496 of torchvision, less 990 of 1,000 classes


def test_a_class_that_takes_anything_gets_the_classes() -> None:
    seen: dict[str, Any] = {}

    def make(**kwargs: Any) -> None:
        seen.update(kwargs)

    with pytest.raises(UserError, match="gives a NoneType; it must give a torch.nn.Module"):
        build_custom(make, {"more": 1}, "auto", 10, (1, 8, 8))
    assert seen == {"num_classes": 10, "more": 1}


# -- what is refused


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "model=custom needs model.target=package.module.callable"),
        (["model.target=net"], "model.target=net is impossible; allowed: null or package.module.callable"),
        (["model.target=own_net.Net"], "own_net.Net is not in model.allow (torchvision.models)"),
        (["model.target=own_net.Net", "model.allow=[own]"], "not in model.allow (own)"),
        (["model.target=own_net.no", "model.allow=[own_net]"], "own_net has nothing to call by the name of 'no'"),
        (["model.target=own_net.reduce", "model.allow=[own_net]"], "comes from _functools, which is not in"),
        (["model.target=no_net.Net", "model.allow=[no_net]"], "No module named 'no_net'); is it installed"),
        (["model.target=broken_net.Net", "model.allow=[broken_net]"], "No module named 'nothing_of_this_name'"),
        (["model.target=own_net.number", "model.allow=[own_net]"], "gives a int; it must give a torch.nn.Module"),
        (["model.target=own_net.broken", "model.allow=[own_net]"], "broken(num_classes=10) fails: ValueError: no way;"),
        (["model.target=own_net.fixed", "model.allow=[own_net]"], "gives (1, 7) for one image, where (1, 10) is"),
        (["model.target=own_net.Pair", "model.allow=[own_net]"], "Pair returns a tuple; it must return the logits"),
        ([*MINE, "model.width=2"], "model.width=2 is impossible with model=custom; set its size by model.kwargs"),
        ([*MINE, "model.blocks=[conv1]"], "allowed: auto or a list of lists of names of modules"),
        ([*MINE, "model.blocks=[[conv1],[conv2]]"], "names 'conv2', which the model does not have"),
        (["model.target=torchvision.models.resnet18", "+model.kwargs.depth=3"], "unexpected keyword argument 'depth'"),
        (["model.target=torchvision.models.squeezenet1_1"], "the model cannot take images of 1x8x8"),
    ],
)  # fmt: skip
def test_errors_in_one_line(overrides: list[str], said: str) -> None:
    assert said in error(*overrides)


def test_nothing_is_imported_that_is_not_allowed() -> None:
    assert "importing a module runs its code" in error("model.target=own_net.Net")
    assert "own_net" not in sys.modules


def test_a_prefix_is_a_whole_name() -> None:
    for allow in (["own_net.Net"], ["own_net"], ["x", "own_net"]):
        assert find_callable("own_net.Net", allow).__name__ == "Net"
    with pytest.raises(UserError, match="not in model.allow"):
        find_callable("own_net.Net", ["own_net.N"])


def test_importing_draws_no_random_numbers() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    find_callable("own_net.Net", ["own_net"])
    assert torch.equal(torch.get_rng_state(), state)


# -- identity


def test_target_kwargs_and_blocks_are_the_run_s_identity_and_permission_is_not() -> None:
    base = compose(MINE)
    assert identity(base)["model.target"] == "own_net.Net"
    assert signature(compose([*MINE, "model.allow=[own_net,other]"])) == signature(base)
    changed = ["model.target=own_net.Pair", "+model.kwargs.depth=2", "model.blocks=[[conv1,blocks.0],[blocks.1]]"]
    assert len({signature(base), *(signature(compose([*MINE, word])) for word in changed)}) == 4


def test_others_do_not_have_these_keys() -> None:
    told = identity(compose())
    assert not any(key in told for key in ("model.target", "model.blocks", "model.allow", "model.kwargs"))


def test_another_network_of_that_name_is_measured_anew(tmp_path: Path) -> None:
    config = compose(MINE)
    before = make_plan(config)
    assert make_plan(compose([*MINE, "seed=3"])) is before
    (tmp_path / "own_net.py").write_text(OWN.replace("channels=8", "channels=10"))
    sys.modules.pop("own_net")
    assert make_plan(config) is not before


# -- training


def test_parameters_rest_while_frozen_and_wake_again() -> None:
    model = build_model(compose(MINE))
    x = torch.zeros(2, 1, 8, 8)

    def asleep() -> int:
        return sum(not parameter.requires_grad for parameter in model.parameters())

    model(x, frozen=2)
    assert asleep() == 2 + 4  # the first convolution and its bias; convolution and batch norm
    with torch.no_grad():
        model(x)
    assert asleep() == 6  # evaluation changes nothing
    model(x, frozen=1)
    assert asleep() == 2
    model(x)
    assert asleep() == 0
    with pytest.raises(ValueError, match="5 blocks"):
        model(x, frozen=6)


def test_what_the_user_does_not_train_is_never_woken() -> None:
    net = find_callable("own_net.Net", ["own_net"])(10, 1)
    net.blocks[0][0].weight.requires_grad_(False)
    model = build_custom(lambda: net, {}, "auto", 10, (1, 8, 8))
    for frozen in (0, 3, 0):
        model(torch.zeros(2, 1, 8, 8), frozen)
        assert not net.blocks[0][0].weight.requires_grad


def test_a_run_freezes_and_resumes(tmp_path: Path) -> None:
    config = compose([*MINE, *TINY, "freeze=0.2", "+model.kwargs.drop=0.1", f"runs_dir={tmp_path}"])
    train(config)
    folder = RunFolder.of(config)
    summary = folder.summary()
    # Hooks count what ran and what took part in the backward pass: as planned.
    assert summary is not None and summary["train_flops"] == make_plan(config).prediction()["train_flops"]
    assert folder.metrics()[-1]["frozen_blocks"] >= 2

    weights = torch.load(folder.file("model.pt"), weights_only=True)["model"]
    folder.file("summary.json").unlink()
    folder.file("checkpoint.prev.pt").replace(folder.file("checkpoint.pt"))
    train(config)
    again = torch.load(folder.file("model.pt"), weights_only=True)["model"]
    assert all(torch.equal(value, again[key]) for key, value in weights.items())


@pytest.mark.slow
def test_from_the_command_line(run_cli: Any, tmp_path: Path) -> None:
    told = run_cli(*MINE, *TINY, "freeze=0.2", "dry_run=json", cwd=tmp_path)
    assert json.loads(told.stdout)["flops_reduction_freeze"] == pytest.approx(0.2, abs=0.02)
    assert run_cli(*MINE, *TINY, "freeze=0.2", cwd=tmp_path).returncode == 0
    refused = run_cli("model=custom", "model.target=own_net.Net", cwd=tmp_path)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
