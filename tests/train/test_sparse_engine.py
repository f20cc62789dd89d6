"""Runs by the sparse engine: as dense ones, to rounding, whatever the method does; the same bits again."""

from pathlib import Path
from statistics import median

import pytest
import torch

from spfde_exp.config import compose, signature
from spfde_exp.engine.network import sparse_layers
from spfde_exp.errors import UserError
from spfde_exp.models import BlockModel
from spfde_exp.run import train
from spfde_exp.sparse.methods import METHODS
from spfde_exp.store import RunFolder
from spfde_exp.train import sparse_engine
from spfde_exp.train.device import check_engine, exact
from spfde_exp.train.sparse_engine import FasterEngine
from spfde_exp.train.trainer import Trainer

from .stepping import same, trainer_of

RUN = ("epochs=10", "dst.every=2", "dst.base_epochs=10", "dst.milestones=[4]", "dst.stop=8", "optim.lr=0.01")
TINY = ("debug=tiny", "threads=1", "logger=none", "optim.lr=0.01", "model.width=0.25")


def in_double(trainer: Trainer) -> Trainer:
    """In float64, where rounding has no time to grow."""
    trainer.model.double()
    batches = trainer.batches
    epoch, evaluation = batches.epoch, batches.evaluation
    batches.epoch = lambda *a: ((x.double(), *rest) for x, *rest in epoch(*a))  # type: ignore[method-assign]
    batches.evaluation = lambda s: ((x.double(), y) for x, y in evaluation(s))  # type: ignore[method-assign]
    return trainer


def epochs(trainer: Trainer, first: int, last: int) -> list[dict[str, float]]:
    rows = []
    with exact(1, "fp32"):
        for epoch in range(first, last):
            trainer.start_epoch(epoch)
            rows.append(trainer.train_epoch(epoch) | trainer.evaluate("test"))
    return rows


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("dense", "lth")])
def test_every_method_trains_as_dense(name: str) -> None:
    """Two epochs, in which masks change: the same masks, losses to rounding, the same FLOPs."""
    overrides = [*RUN, f"method={name}", "freeze=none", "sieve=0.1"]
    overrides += ["method.every_steps=4"] if "every_steps" in METHODS[name].reads else []
    sparse, dense = trainer_of(*overrides, "engine=sparse"), trainer_of(*overrides)
    for row, theirs in zip(epochs(sparse, 0, 3), epochs(dense, 0, 3), strict=True):
        assert row["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert row["test_loss"] == pytest.approx(theirs["test_loss"], rel=1e-4)
        assert row["epoch_flops"] == theirs["epoch_flops"]
    for layer, mask in dense.masks.kept.items():
        ours = sparse.masks.kept[layer]
        # A weight of DeepR dies where its sign changes: next to zero by rounding.
        assert torch.equal(ours, mask) or (name == "deepr" and (ours == mask).float().mean() > 0.99), layer
        assert not sparse.masks.weights[layer][~ours].any(), layer


@pytest.mark.parametrize(
    "overrides",
    [
        ("freeze=0.15", "sieve=0.2"),
        ("freeze=0.15", "freeze.bn=train", "sieve=none"),
        ("freeze=periodic", "freeze.target=0.15", "sieve=none"),
        ("method=mest_em", "sparsity.scheme=channel", "sparsity=0.5", "freeze=0.15", "model.width=0.5"),
        ("model=vgg19", "model.width=0.125", "freeze=0.05", "sparsity=0.5", "sparsity.tolerance=0.1", "optim.lr=0.001"),
    ],
    ids=["spfde", "bn_goes_on", "periodic", "channels", "vgg19"],
)
def test_freezing_and_sieving_stack_on_top(overrides: tuple[str, ...]) -> None:
    sparse, dense = (in_double(trainer_of(*RUN, *overrides, f"engine={name}")) for name in ("sparse", "dense"))
    for ours, theirs in zip(epochs(sparse, 0, 6), epochs(dense, 0, 6), strict=True):
        assert ours["frozen_blocks"] == theirs["frozen_blocks"]
        assert ours["epoch_flops"] == theirs["epoch_flops"]
        for key in ("train_loss", "test_loss"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-6)  # the logits of a loss are rounded to float32
    assert max(sparse.plan.freeze.frozen[:6]) > 0


def test_depthwise_convolutions() -> None:
    """One epoch; later ones differ where a bias that is zero but for rounding opens a ReLU."""
    overrides = (*RUN, "model=mobilenet_v2", "sparsity=0.5", "sparsity.tolerance=0.1", "freeze=none", "optim.lr=0.001")
    rows = [epochs(in_double(trainer_of(*overrides, f"engine={name}")), 0, 1)[0] for name in ("sparse", "dense")]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-6)
    assert rows[0]["epoch_flops"] == rows[1]["epoch_flops"]


def first_gradients(trainer: Trainer) -> torch.Tensor:
    """All of the first step, in one vector."""
    with exact(1, "fp32"):
        trainer.start_epoch(0)
        trainer.model.train()
        trainer.forward.prepare(0)
        x, y, _ = next(iter(trainer.batches.epoch(trainer.sieve.kept, torch.Generator().manual_seed(0))))
        trainer.train_step(trainer.at(0, 0, 7), x, y)
    return torch.cat([p.grad.flatten().double() for p in trainer.model.parameters() if p.grad is not None])


def test_it_rounds_no_more_than_pytorch() -> None:
    """Gradients are as near to those of float64; the median of seeds, as a rounding can open a ReLU in any of them."""
    errors: dict[str, list[float]] = {"dense": [], "sparse": []}
    for seed in range(5):
        truth = first_gradients(in_double(trainer_of(*RUN, "freeze=none", f"seed={seed}")))
        for engine, of in errors.items():
            ours = first_gradients(trainer_of(*RUN, "freeze=none", f"seed={seed}", f"engine={engine}"))
            of.append(float((ours - truth).norm() / truth.norm()))
    assert 0 < median(errors["sparse"]) < 2 * median(errors["dense"]) < 1e-4


def test_lottery_tickets_start_dense(tmp_path: Path) -> None:
    """The level before is a dense run, which the engine leaves alone."""
    overrides = ["method=lth", "sparsity=0.5", "method.drop=0.5", "freeze=none", "sieve=none", f"runs_dir={tmp_path}"]
    rows = []
    for engine in ("sparse", "dense"):
        config = compose([*TINY, *overrides, f"engine={engine}", "epochs=2", "force=true"])
        train(config)
        rows.append(RunFolder(tmp_path / signature(config)).metrics())
    assert rows[0][-1]["train_loss"] == pytest.approx(rows[1][-1]["train_loss"], rel=1e-3)


@pytest.mark.parametrize("engine", ["sparse", "auto"])
def test_resumed_it_goes_on_bit_for_bit(engine: str) -> None:
    overrides = (*RUN, "freeze=0.15", "sieve=0.2", f"engine={engine}")
    whole, first, second = (trainer_of(*overrides) for _ in range(3))
    if engine == "auto":
        for trainer in (whole, first):
            settle(trainer)
    epochs(whole, 0, 6)
    epochs(first, 0, 3)
    second.load_state_dict(first.state_dict(3))
    epochs(second, 3, 6)
    same(whole, second)
    assert whole.forward._by_engine


def settle(trainer: Trainer) -> None:
    """Let auto have found that every layer is faster sparse, and try no more."""
    engine = trainer.forward.engine
    assert isinstance(engine, FasterEngine)
    engine.load_state_dict(
        {"faster": sorted(sparse_layers(trainer.model, trainer.masks.kept)), "tried": "", "tries": 0}
    )


@pytest.mark.parametrize(("before", "after"), [("sparse", "dense"), ("dense", "sparse")])
def test_the_engine_may_change_at_a_checkpoint(before: str, after: str) -> None:
    overrides = (*RUN, "freeze=0.15", "sieve=0.2")
    plain, one, other = (trainer_of(*overrides, f"engine={name}") for name in ("dense", before, after))
    expected = epochs(plain, 0, 5)
    epochs(one, 0, 3)
    other.load_state_dict(one.state_dict(3))
    for row, truth in zip(epochs(other, 3, 5), expected[3:], strict=True):
        assert row["train_loss"] == pytest.approx(truth["train_loss"], rel=5e-3)
        assert row["epoch_flops"] == truth["epoch_flops"]


def test_a_run_is_the_same_run_with_any_engine() -> None:
    names = [signature(compose([f"engine={name}"])) for name in ("dense", "sparse", "auto")]
    assert len(set(names)) == 1


@pytest.mark.parametrize("setting", ["precision=bf16", "compile=true"])
def test_settings_that_exclude_it_are_refused(setting: str) -> None:
    with pytest.raises(UserError, match=f"engine=sparse is impossible with {setting}; leave that out"):
        compose(["engine=sparse", setting])
    compose(["engine=auto", setting])


def test_gpus_have_no_sparse_engine() -> None:
    with pytest.raises(UserError, match="engine=sparse computes on CPUs, not on cuda; use device=cpu"):
        check_engine("sparse", torch.device("cuda"))
    check_engine("auto", torch.device("cuda"))


def test_nothing_to_gain_is_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trainer_of("method=dense", "engine=sparse").forward.engine is None
    with monkeypatch.context() as patch:
        patch.setattr(sparse_engine, "can_convolve", lambda _: False)
        assert trainer_of("engine=auto").forward.engine is None
        with pytest.raises(UserError, match="impossible with this model: none of the masked layers is"):
            trainer_of("engine=sparse")

    def refuse(*_: object) -> None:
        raise ValueError("it cannot be traced: it looks at data")

    monkeypatch.setattr(sparse_engine, "SparseNetwork", refuse)
    assert trainer_of("engine=auto").forward.engine is None
    with pytest.raises(UserError, match="impossible with this model: it cannot be traced: it looks at data; use"):
        trainer_of("engine=sparse")


def test_auto_tries_where_the_situation_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def fastest(model: BlockModel, kept: object, candidates: frozenset[str], batch: object, frozen: int,
                dense: object) -> frozenset[str]:  # fmt: skip
        tried.append(frozen)
        return candidates if frozen else frozenset()

    monkeypatch.setattr(sparse_engine, "fastest_layers", fastest)
    trainer = trainer_of(*RUN, "method=static", "freeze=0.15", "sieve=none", "engine=auto")
    engine = trainer.forward.engine
    assert isinstance(engine, FasterEngine)
    assert engine.tries == 0, "some seconds of training are not worth a try"
    engine.tries = 2
    epochs(trainer, 0, 7)
    depths = list(dict.fromkeys(trainer.plan.freeze.frozen[:7]))
    assert tried == depths[:2]
    assert trainer.forward._by_engine


def test_auto_leaves_the_numbers_of_a_run_alone() -> None:
    """What is tried is tried on copies: the choice apart, the run is that of the same choice made by hand."""
    tried, plain = trainer_of(*RUN, "freeze=none", "engine=auto"), trainer_of(*RUN, "freeze=none", "engine=auto")
    assert isinstance(tried.forward.engine, FasterEngine)
    assert isinstance(plain.forward.engine, FasterEngine)
    tried.forward.engine.tries = 1
    with exact(1, "fp32"):
        tried.start_epoch(0)
        tried.forward.prepare(0)
    plain.forward.engine.load_state_dict(tried.forward.engine.state_dict())
    assert tried.forward.engine.tries == 0
    epochs(tried, 0, 2)
    epochs(plain, 0, 2)
    same(tried, plain)
