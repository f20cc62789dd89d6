"""The optimiser's steps with the sparse engine: as without, on all that trains, whatever masks and freezing do."""

import pytest
import torch
from torch import Tensor, nn

from spfde_exp.train.device import exact
from spfde_exp.train.fused_step import fused_step
from spfde_exp.train.optim import _SGD
from spfde_exp.train.trainer import Trainer

from .stepping import trainer_of

RUN = ("epochs=10", "dst.every=2", "dst.base_epochs=10", "dst.milestones=[4]", "dst.stop=8", "optim.lr=0.01")


def trained(*overrides: str, fused: bool) -> Trainer:
    """Four epochs by the sparse engine, by either way of making steps."""
    trainer = trainer_of(*RUN, "engine=sparse", *overrides)
    assert trainer.optimizer.sgd.partly is fused_step
    if not fused:
        trainer.optimizer.sgd.partly = None
    with exact(1, "fp32"):
        for epoch in range(4):
            trainer.start_epoch(epoch)
            trainer.train_epoch(epoch)
    return trainer


@pytest.mark.parametrize(
    "overrides",
    [
        ("freeze=0.15", "sieve=0.2"),
        ("method=rigl", "freeze=none"),
        ("method=snfs", "freeze=none"),
        ("method=deepr", "freeze=none"),
        ("optim.nesterov=true", "freeze=none"),
        ("optim.momentum=0", "freeze=none"),
    ],
    ids=["spfde", "updates_without_a_step", "dense_gradients", "noise_in_gradients", "nesterov", "no_momentum"],
)
def test_they_are_those_of_torch(overrides: tuple[str, ...]) -> None:
    ours, theirs = (trained(*overrides, fused=fused) for fused in (True, False))
    for (name, p), q in zip(ours.model.named_parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5, msg=name)
    momentum, truth = (trainer.optimizer.momentum(trainer.model) for trainer in (ours, theirs))
    assert momentum.keys() == truth.keys()
    for layer, mask in ours.masks.kept.items():
        assert not ours.masks.weights[layer][~mask].any()
        if f"{layer}.weight" in momentum:
            assert not momentum[f"{layer}.weight"][~mask].any()


def test_gradients_stay_for_whoever_reads_them() -> None:
    trainer = trained("freeze=0.15", fused=True)
    frozen = trainer.plan.freeze.frozen[3]
    resting = {member for _, members in trainer.blocks[:frozen] for member in members}
    for name, parameter in trainer.model.named_parameters():
        assert (parameter.grad is None) == any(name.startswith(f"{member}.") for member in resting), name


class Shared(nn.Module):
    """What masked weights get gradients from besides their convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x).relu()) * (1 + self.conv2.weight.sum())
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


def test_gradients_from_elsewhere_do_not_reach_masked_weights() -> None:
    own = [f"model.target={__name__}.Shared", f"model.allow=[{__name__}]"]
    trainer = trained("model=custom", "model.width=1", *own, "method=static", "freeze=none", fused=True)
    assert "net.conv2" in trainer.forward.masked_gradients
    kept, weight = trainer.masks.kept["net.conv2"], trainer.masks.weights["net.conv2"]
    assert not weight[~kept].any()
    assert weight[kept].all()


def test_parameters_of_other_types_and_layouts_are_left_to_torch() -> None:
    """One call steps through memory by a single type, and by the strides of the weight."""
    results = []
    for fused in (True, False):
        random = torch.Generator().manual_seed(0)
        weights = [torch.randn(4, 3, 3, 3, generator=random) for _ in range(5)]
        weights = [weights[0].double(), weights[1], weights[2].bfloat16(), weights[3][:, ::2], weights[4]]
        weights[4] = weights[4].to(memory_format=torch.channels_last)  # its gradient is not
        parameters = [nn.Parameter(weight) for weight in weights]
        sgd = _SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)
        sgd.partly = fused_step if fused else None
        for _ in range(3):
            for p in parameters:
                p.grad = torch.randn(p.shape, generator=random).to(p.dtype)
            sgd.step()
        results.append([p.detach() for p in parameters])
    torch.testing.assert_close(*results)
