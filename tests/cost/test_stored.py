"""The peak of a step as PyTorch executes it: predicted without running a step, and measured."""

import gc
import itertools
import weakref

import pytest
import torch
from torch import nn

from spfde_exp.config import compose
from spfde_exp.cost.stored import saved_bytes
from spfde_exp.data import load
from spfde_exp.plan import build_model, make_plan
from spfde_exp.train.trainer import Trainer


class Net(nn.Module):
    """3x3 convolution 1 -> 2 on 4x4, ReLU, linear 32 -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.fc = nn.Linear(32, 3)

    def forward(self, x: torch.Tensor, frozen: int = 0) -> torch.Tensor:
        return self.fc(self.conv(x).relu().flatten(1))


def test_saved_bytes_by_hand():
    # per example: the input (16), the ReLU's output, which is also the linear layer's input (32), and what the
    # loss keeps of 3 logits (its input and its output of 1)
    assert saved_bytes(Net(), (1, 4, 4)).batch(10) == 10 * 4 * (16 + 32 + 3 + 1)


def test_measuring_leaves_the_model_as_it_was():
    model = build_model(compose()).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    saved_bytes(model, (1, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_measuring_holds_nothing_afterwards():
    """A sweep plans many models; autograd's nodes are not seen by Python's garbage collector."""
    model = build_model(compose())
    gone = weakref.ref(model.get_submodule("stem"))
    saved_bytes(model, (1, 8, 8))
    parameters = [weakref.ref(parameter.untyped_storage()) for parameter in model.parameters()]
    del model
    gc.collect()
    assert gone() is None
    assert not any(storage() is not None for storage in parameters)


def test_frozen_blocks_keep_less():
    model = build_model(compose())
    sizes = [saved_bytes(model, (1, 8, 8), frozen).batch(32) for frozen in range(7)]
    assert all(later < earlier for earlier, later in itertools.pairwise(sizes))


@pytest.mark.parametrize("overrides", [[], ["model.width=1", "optim.batch_size=80"], ["method=dense"]])
def test_prediction_agrees_with_the_measured_peak(overrides):
    config = compose(["debug=tiny", "freeze=none", *overrides])
    model = build_model(config)
    plan = make_plan(config, model)
    trainer = Trainer(config, plan, model, load("digits", "", subset=200), torch.device("cpu"))
    trainer.begin()
    trainer.start_epoch(0)
    assert trainer.train_epoch(0)["memory_peak_bytes"] == pytest.approx(plan.peak_bytes, rel=0.15)
