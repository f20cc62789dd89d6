"""The forward pass of training: frozen blocks folded, equal to the plain path, and left alone where they cannot be."""

import logging
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from spfde_exp.cost.flops import epoch_flops
from spfde_exp.inference.channels import ReadChannels
from spfde_exp.train.device import exact
from spfde_exp.train.trainer import Trainer

from .stepping import trainer_of

FROZEN = ("epochs=16", "dst.every=2", "dst.base_epochs=16", "freeze=0.25", "sieve=none", "optim.batch_size=10")


def depth(trainer: Trainer) -> int:
    """The first epoch with as many blocks at rest as there ever are."""
    return trainer.plan.freeze.frozen.index(max(trainer.plan.freeze.frozen))


def resting(*overrides: str) -> Trainer:
    """A trainer at the start of the epoch in which the last block froze, after two epochs of training."""
    trainer = trainer_of(*FROZEN, *overrides)
    for epoch in (0, 1):
        trainer.start_epoch(epoch)
        trainer.train_epoch(epoch)
    for epoch in range(2, depth(trainer) + 1):
        trainer.start_epoch(epoch)
    return trainer


def test_fifty_steps_as_on_the_plain_path() -> None:
    """float32: weights stay within 1e-4 of each other, relative to their norm."""
    with exact(1, "fp32"):
        fast, plain = resting(), resting("freeze.fold=false")
        weights = []
        for trainer in (fast, plain):
            for _ in range(5):  # epochs of ten steps
                trainer.train_epoch(depth(trainer))
            weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert fast.steps == plain.steps == 70
    assert fast.forward.prefix is not None and plain.forward.prefix is None
    assert 0 < float((weights[0] - weights[1]).norm()) < 1e-4 * float(weights[1].norm())


def test_few_frozen_blocks_run_bit_for_bit_as_on_the_plain_path() -> None:
    """Folding is for two thirds of the blocks and more; where channels are left out, for all."""
    with exact(1, "fp32"):
        trainer = resting()
        trainer.forward.forget()
        blocks = len(trainer.blocks)
        for frozen in range(blocks + 1):
            trainer.forward.prepare(frozen)
            assert (trainer.forward.prefix is not None) == (frozen * 3 >= blocks * 2)
        trainer.forward.prepare(1)
        x = torch.rand(4, 1, 8, 8)
        assert torch.equal(trainer.forward(x), trainer.model(x, frozen=1))
        sparse = resting("sparsity.scheme=channel", "sparsity=0.5", "method=mest_em", "model.width=1")
        sparse.forward.prepare(1)
        assert sparse.forward.prefix is not None


def test_first_active_layer_gets_no_input_gradient() -> None:
    with exact(1, "fp32"):
        trainer = resting()
        trainer.forward.prepare(frozen := trainer.plan.freeze.frozen[depth(trainer)])
        seen: list[Tensor] = []
        first = trainer.model.get_submodule(trainer.blocks[frozen][0])
        first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        x, y, _ = next(iter(trainer.batches.epoch(trainer.sieve.kept, torch.Generator().manual_seed(0))))
        trainer.train_step(trainer.at(depth(trainer), 0, 1), x, y)
    assert [x.requires_grad for x in seen] == [False]


def test_folded_flops_are_metered_as_planned() -> None:
    trainer = resting()
    at = depth(trainer)
    row = trainer.train_epoch(at)
    frozen = trainer.plan.freeze.frozen[at]
    assert trainer.forward.resting is not None
    assert row["epoch_flops"] == epoch_flops(trainer.plan.layers, trainer.kept(), frozen, 100)


@pytest.mark.parametrize("scheme", ["channel", "filter"])
def test_dead_channels_of_frozen_blocks_are_left_out(scheme: str) -> None:
    overrides = (f"sparsity.scheme={scheme}", "sparsity=0.5", "method=mest_em", "model.width=1")
    with exact(1, "fp32"):
        small, plain = resting(*overrides), resting(*overrides, "freeze.fold=false")
        rows = [trainer.train_epoch(depth(trainer)) for trainer in (small, plain)]
    assert small.forward.prefix is not None
    weights = sum(p.numel() for name, p in small.forward.prefix.named_parameters() if name.endswith("weight"))
    frozen = small.plan.freeze.frozen[depth(small)]
    whole = sum(layer.weights for layer in small.plan.layers if layer.block is not None and layer.block < frozen)
    assert weights < 0.9 * whole
    if scheme == "channel":
        assert any(isinstance(module, ReadChannels) for module in small.forward.prefix.modules())
    assert rows[0]["epoch_flops"] == rows[1]["epoch_flops"]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-3)


def test_batch_norm_that_goes_on_is_not_folded() -> None:
    trainer = resting("freeze.bn=train")
    bn = next(module for module in trainer.model.modules() if isinstance(module, nn.BatchNorm2d))
    assert bn.running_mean is not None
    before = bn.running_mean.clone()
    trainer.train_epoch(depth(trainer))
    assert trainer.forward.prefix is None
    assert not torch.equal(bn.running_mean, before)


def test_what_cannot_be_traced_runs_as_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("Net cannot be traced: it looks at data")

    monkeypatch.setattr("spfde_exp.train.forward.folded", refuse)
    trainer = resting()
    with caplog.at_level(logging.WARNING):
        trainer.train_epoch(depth(trainer))
        trainer.train_epoch(depth(trainer))
    assert trainer.forward.prefix is None
    assert [r.message for r in caplog.records] == [
        "frozen blocks run as they are, which is slower: Net cannot be traced: it looks at data"
    ]


def test_a_checkpoint_brings_its_own_frozen_blocks() -> None:
    """The folded weights are those of the checkpoint, not of the network it was loaded into."""
    with exact(1, "fp32"):
        one, other = resting(), resting("seed=1")
        other.train_epoch(depth(other))
        other.load_state_dict(one.state_dict(depth(one)))
        other.forward.prepare(one.plan.freeze.frozen[depth(one)])
        one.forward.prepare(one.plan.freeze.frozen[depth(one)])
        x = torch.rand(4, 1, 8, 8)
        assert one.forward.prefix is not None and other.forward.prefix is not None
        assert torch.equal(one.forward.prefix(x), other.forward.prefix(x))


def test_compiled_steps_train_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch with a small learning rate, so that rounding does not grow: equal losses, the same layers counted.

    Traced as for a compiler, which takes half a minute more: benchmarks/cpu.py has it.
    """
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    overrides = ("freeze=none", "sieve=none", "optim.lr=0.001")
    with exact(1, "fp32"):
        compiled, plain = trainer_of(*overrides, "compile=true"), trainer_of(*overrides)
        rows = []
        for trainer in (compiled, plain):
            trainer.start_epoch(0)
            rows.append(trainer.train_epoch(0))
    assert compiled.forward._compiled is not None
    assert rows[0]["epoch_flops"] == rows[1]["epoch_flops"]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-5)
