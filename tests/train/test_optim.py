"""One cosine per block, and frozen blocks out of the optimiser."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.schema import Optim
from spfde_exp.train.optim import BlockSGD, cosine

BLOCKS = [("one", ["stem", "one"]), ("two", ["two"])]
OPTIM = Optim(lr=0.2, end_lr=0.01, momentum=0.9, weight_decay=0.01, nesterov=False, batch_size=4)


def net() -> nn.Module:
    model = nn.Module()
    for name in ("stem", "one", "two", "head"):
        model.add_module(name, nn.Linear(3, 3))
    return model


def plan_of(*frozen: int) -> FreezePlan:
    return FreezePlan(tuple(frozen), ("one", "two"), (0.5, 0.4))


def rates(optimizer: BlockSGD) -> dict[int | None, float]:
    return {group["block"]: group["lr"] for group in optimizer.sgd.param_groups}


def step(model: nn.Module, optimizer: BlockSGD, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = gradient
    optimizer.sgd.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_leaves_the_gradients_as_they_are(nesterov: bool, weight_decay: float) -> None:
    """Methods and AutoFreeze read them after it; the second step has momentum to add."""
    model = net()
    optimizer = BlockSGD(model, BLOCKS, replace(OPTIM, nesterov=nesterov, weight_decay=weight_decay))
    for seed in (0, 1):
        step(model, optimizer, seed)
        generator = torch.Generator().manual_seed(seed)
        assert all(torch.equal(p.grad, torch.randn(p.shape, generator=generator)) for p in model.parameters())


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_are_those_of_torch_and_hooks_come_before_them(nesterov: bool) -> None:
    ours, theirs = net(), net()
    theirs.load_state_dict(ours.state_dict())
    optimizer = BlockSGD(ours, BLOCKS, replace(OPTIM, nesterov=nesterov))
    sgd = torch.optim.SGD(theirs.parameters(), 0.2, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    seen: list[float] = []
    for one, model in ((optimizer.sgd, ours), (sgd, theirs)):
        one.register_step_pre_hook(lambda *_, model=model: seen.append(float(model.one.weight[0, 0].detach())))
    handle = optimizer.sgd.register_step_pre_hook(lambda *_: pytest.fail("it was removed"))
    handle.remove()
    for seed in range(3):
        step(ours, optimizer, seed)
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = own.grad.clone()
        sgd.step()
        assert all(torch.equal(own, other) for own, other in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert seen[::2] == seen[1::2] and len(set(seen)) == 3
    optimizer.sgd.zero_grad()
    assert all(parameter.grad is None for parameter in ours.parameters())


def test_cosine() -> None:
    assert [cosine(0.2, 0.0, p) for p in (0, 0.5, 1)] == pytest.approx([0.2, 0.1, 0.0])
    assert cosine(0.15, 4e-8, 1) == pytest.approx(4e-8)
    assert cosine(1.0, 0.0, 1 / 3) == pytest.approx(0.75)


def test_each_block_has_its_own_cosine() -> None:
    optimizer, plan = BlockSGD(net(), BLOCKS, OPTIM), plan_of(0, 0, 1, 1, 2, 2)
    active = {0: 2, 1: 4, None: 6}
    for epoch in range(6):
        lr = optimizer.start_epoch(plan, epoch)
        expected = {
            block: 0.01 + 0.19 * 0.5 * (1 + math.cos(math.pi * epoch / total))
            for block, total in active.items()
            if epoch < total
        }
        assert rates(optimizer) == pytest.approx(expected)
        assert lr == pytest.approx(expected[None])


def test_a_cosine_stands_still_while_its_block_rests() -> None:
    optimizer, plan = BlockSGD(net(), BLOCKS, OPTIM), plan_of(0, 1, 1, 0)
    seen = []
    for epoch in range(4):
        optimizer.start_epoch(plan, epoch)
        seen.append(rates(optimizer).get(0))
    assert seen == [pytest.approx(0.2), None, None, pytest.approx(0.105)]


def test_the_optimiser_holds_no_frozen_parameter() -> None:
    model = net()
    optimizer = BlockSGD(model, BLOCKS, OPTIM)
    optimizer.start_epoch(plan_of(0, 1, 2), 0)
    step(model, optimizer, 0)
    optimizer.start_epoch(plan_of(0, 1, 2), 1)
    held = {p for group in optimizer.sgd.param_groups for p in group["params"]}
    frozen = [*model.stem.parameters(), *model.one.parameters()]  # type: ignore[union-attr, operator]
    assert not held & set(frozen) and not set(optimizer.sgd.state) & set(frozen)
    assert all(p.grad is None for p in frozen)
    assert held == {*model.two.parameters(), *model.head.parameters()}  # type: ignore[union-attr, operator]
    before = [p.detach().clone() for p in frozen]
    step(model, optimizer, 1)  # even with gradients at hand
    assert all(torch.equal(p, b) for p, b in zip(frozen, before, strict=True))
    optimizer.start_epoch(plan_of(0, 1, 2), 2)
    assert list(rates(optimizer)) == [None]


def test_a_block_that_wakes_has_no_old_momentum() -> None:
    model = net()
    optimizer, plan = BlockSGD(model, BLOCKS, OPTIM), plan_of(0, 1, 0)
    for epoch in range(3):
        optimizer.start_epoch(plan, epoch)
        if epoch == 2:
            assert not any(name.startswith(("stem", "one")) for name in optimizer.momentum(model))
        step(model, optimizer, epoch)
    assert set(optimizer.momentum(model)) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("nesterov", [False, True])
def test_with_nothing_frozen_it_is_plain_sgd(nesterov: bool) -> None:
    """w <- w - lr v, v <- mu v + g + wd w, in double precision by hand."""
    torch.manual_seed(0)
    model = net().double()
    optim = Optim(**{**vars(OPTIM), "nesterov": nesterov})
    optimizer, plan = BlockSGD(model, BLOCKS, optim), plan_of(0, 0, 0, 0)
    weights = [p.detach().clone() for p in model.parameters()]
    velocity = [torch.zeros_like(w) for w in weights]
    for epoch in range(4):
        optimizer.start_epoch(plan, epoch)
        lr = 0.01 + 0.19 * 0.5 * (1 + math.cos(math.pi * epoch / 4))
        for batch in range(3):
            generator = torch.Generator().manual_seed(10 * epoch + batch)
            for w, v, p in zip(weights, velocity, model.parameters(), strict=True):
                p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
                g = p.grad + 0.01 * w
                v.copy_(0.9 * v + g)
                w -= lr * (g + 0.9 * v if nesterov else v)
            optimizer.sgd.step()
    for w, p in zip(weights, model.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), w, rtol=1e-12, atol=1e-12)


def test_momentum_comes_back() -> None:
    first, second = net(), net()
    second.load_state_dict(first.state_dict())
    a, b = BlockSGD(first, BLOCKS, OPTIM), BlockSGD(second, BLOCKS, OPTIM)
    for optimizer in (a, b):
        optimizer.start_epoch(plan_of(0, 0), 0)
    step(first, a, 0)
    second.load_state_dict(first.state_dict())
    b.load_momentum(second, {name: value.clone() for name, value in a.momentum(first).items()})
    for optimizer, model in ((a, first), (b, second)):
        optimizer.start_epoch(plan_of(0, 0), 1)
        step(model, optimizer, 1)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("nesterov", [False, True])
def test_rates_on_the_device_give_the_same_steps(nesterov: bool) -> None:
    """Tensors that the fused step reads, and that keep their place from epoch to epoch."""
    models = [net(), net()]
    models[1].load_state_dict(models[0].state_dict())
    optim = replace(OPTIM, nesterov=nesterov)
    plain, on_device = BlockSGD(models[0], BLOCKS, optim), BlockSGD(models[1], BLOCKS, optim, on_device=True)
    places = [rate.data_ptr() for rate in on_device.rates]
    plan = plan_of(0, 0, 1, 1)
    for epoch in range(4):
        assert plain.start_epoch(plan, epoch) == on_device.start_epoch(plan, epoch) == on_device.lr
        for model, optimizer in zip(models, (plain, on_device), strict=True):
            step(model, optimizer, epoch)
        assert {block: float(rate) for block, rate in rates(on_device).items()} == pytest.approx(rates(plain))
    assert [rate.data_ptr() for rate in on_device.rates] == places
    for parameter, expected in zip(models[1].parameters(), models[0].parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-7)
