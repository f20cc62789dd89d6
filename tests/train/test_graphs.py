"""Steps played from recordings: the same bits as ordinary ones, whatever changes between epochs.

On the CPU a recording is the list of a step's tensor operations, in which everything else is fixed, as in a CUDA graph:
a learning rate, a mask or an address that a recording does not follow shows at once.
"""

import logging
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from spfde_exp.train.device import exact
from spfde_exp.train.graphs import Outputs
from spfde_exp.train.trainer import Trainer

from . import stepping
from .stepping import Tracer, traced, trainer_of

RUN = ("epochs=10", "dst.every=2", "dst.base_epochs=10", "dst.milestones=[4]", "dst.stop=8")


def ordinary(*overrides: str) -> Trainer:
    """The same arithmetic as `traced`, without recording."""
    trainer = trainer_of(*overrides, recorder=Tracer())
    trainer.graph = None
    return trainer


def same(one: Trainer, other: Trainer) -> None:
    stepping.same(one, other)
    for (name, parameter), expected in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        if expected.grad is None:
            assert parameter.grad is None, name
        else:
            assert torch.equal(parameter.grad, expected.grad), name


@pytest.mark.parametrize(
    "overrides",
    [
        ("freeze=0.2", "sieve=0.2"),
        ("freeze=periodic", "freeze.target=0.2", "sieve=none"),
        ("method=rigl", "method.every_steps=3", "freeze=none", "sieve=none"),
        ("method=snfs", "method.until=0.5", "freeze=0.15", "sieve=none"),
        ("method=mest_em", "sparsity.scheme=channel", "sparsity=0.5", "freeze=0.2", "optim.nesterov=true"),
        ("optim.momentum=0", "freeze.fold=false", "sieve=none"),
        ("method=dense", "freeze=none", "sieve=none", "optim.weight_decay=0", "optim.label_smoothing=0.1"),
    ],
    ids=["spfde", "periodic", "rigl", "snfs", "channels", "no_momentum", "dense"],
)
def test_a_run_of_recorded_steps_is_bit_equal(overrides: tuple[str, ...]) -> None:
    played, plain = traced(*RUN, *overrides), ordinary(*RUN, *overrides)
    with exact(1, "fp32"):
        for epoch in range(10):
            rows = []
            for trainer in (played, plain):
                lr = trainer.start_epoch(epoch)
                rows.append({"lr": lr, **trainer.train_epoch(epoch)})
            for key in ("lr", "train_loss", "train_acc", "epoch_flops", "sparsity"):
                assert rows[0][key] == rows[1][key], (epoch, key)
            same(played, plain)
            assert torch.equal(played.sieve.counter.total_events, plain.sieve.counter.total_events)
    graph = played.graph
    assert graph is not None and graph.usable and graph.replays > 0
    depths = plain.plan.freeze.frozen
    changes = 1 + sum(one != other for one, other in pairwise(depths))
    assert graph.recordings <= changes, "recorded anew without need"


def test_methods_that_act_in_a_step_run_it_themselves() -> None:
    """RigL's updates, every third step here, are never played."""
    acted = []
    trainer = traced(*RUN, "method=rigl", "method.every_steps=3", "freeze=none", "sieve=none")
    before = trainer.method.gradients
    trainer.method.gradients = lambda at, layers: (acted.append(at.count), before(at, layers))[1]  # type: ignore[method-assign]
    with exact(1, "fp32"):
        for epoch in range(3):
            trainer.start_epoch(epoch)
            trainer.train_epoch(epoch)
    assert {3, 6, 9, 12, 15, 18} <= set(acted)
    assert trainer.graph is not None and trainer.graph.replays > 0


def test_a_recording_that_would_be_wrong_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """A recorder that loses what the step does to the statistics of batch norm: told once, and the run is right."""

    class Forgetful(Tracer):
        def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
            replay, outputs = super().record(function)
            assert self.trainer is not None
            buffers = list(self.trainer.model.buffers())

            def partly() -> None:
                kept = [buffer.clone() for buffer in buffers]
                replay()
                for buffer, value in zip(buffers, kept, strict=True):
                    buffer.copy_(value)

            return partly, outputs

    overrides = (*RUN, "freeze=0.2", "sieve=none")
    forgetful = Forgetful()
    forgetful.trainer = trainer_of(*overrides, recorder=forgetful)
    compare(forgetful.trainer, ordinary(*overrides), caplog, "the recorded step gives other numbers")


def test_a_step_that_is_computed_in_place_of_recorded_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """As on a GPU that is not the current device: recording computes, and replaying does nothing."""

    class Empty(Tracer):
        def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
            return lambda: None, function()

    overrides = (*RUN, "freeze=0.15", "sieve=none")
    compare(trainer_of(*overrides, recorder=Empty()), ordinary(*overrides), caplog, "gives other numbers")


def test_what_cannot_be_recorded_is_run(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(Tracer):
        def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
            function()  # leaves half a step behind
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    overrides = (*RUN, "freeze=0.2", "sieve=none")
    compare(trainer_of(*overrides, recorder=Refusing()), ordinary(*overrides), caplog, "operation not permitted")


def compare(trainer: Trainer, plain: Trainer, caplog: pytest.LogCaptureFixture, message: str) -> None:
    with exact(1, "fp32"), caplog.at_level(logging.WARNING):
        for epoch in range(10):
            for one in (trainer, plain):
                one.start_epoch(epoch)
                one.train_epoch(epoch)
            same(trainer, plain)
    assert trainer.graph is not None and not trainer.graph.usable
    (record,) = [record for record in caplog.records if "CUDA graphs" in record.message]
    assert message in record.message and "\n" not in record.message


def test_a_learning_rate_of_the_host_would_be_fixed() -> None:
    """Why rates lie on the device, and that such a mistake would show here: the second epoch goes wrong."""
    played, plain = traced(*RUN, "freeze=none", "sieve=none"), ordinary(*RUN, "freeze=none", "sieve=none")
    for trainer in (played, plain):
        trainer.optimizer.on_device = False
        trainer.optimizer.rates.clear()
    with exact(1, "fp32"):
        for epoch in (0, 1):
            for trainer in (played, plain):
                trainer.start_epoch(epoch)
                trainer.train_epoch(epoch)
            if epoch == 0:
                same(played, plain)
        with pytest.raises(AssertionError):
            same(played, plain)


def test_going_on_from_a_checkpoint() -> None:
    played, plain = (make(*RUN, "freeze=0.2", "sieve=0.2") for make in (traced, ordinary))
    with exact(1, "fp32"):
        for epoch in range(7):
            for trainer in (played, plain):
                trainer.start_epoch(epoch)
                trainer.train_epoch(epoch)
        fresh = traced(*RUN, "freeze=0.2", "sieve=0.2")
        fresh.load_state_dict(played.state_dict(7))
        for epoch in range(7, 10):
            for trainer in (fresh, plain):
                trainer.start_epoch(epoch)
                trainer.train_epoch(epoch)
        same(fresh, plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_graphs_are_bit_equal() -> None:
    overrides = (*RUN, "freeze=0.2", "sieve=0.2")
    with exact(1, "fp32"):
        played = trainer_of(*overrides, device="cuda")
        plain = trainer_of(*overrides, "cuda_graphs=false", device="cuda")
        assert plain.graph is None
        for epoch in range(10):
            for trainer in (played, plain):
                trainer.start_epoch(epoch)
                trainer.train_epoch(epoch)
            same(played, plain)
    assert played.graph is not None and played.graph.usable and played.graph.replays > 0
