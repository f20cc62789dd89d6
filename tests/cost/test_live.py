"""Live bytes of chains of tensors whose life is known."""

import torch
from torch import nn

from spfde_exp.cost.live import LiveBytes

KB = 256  # elements of a 1,024-byte tensor


def test_a_chain() -> None:
    x = torch.zeros(KB)
    with LiveBytes() as live:
        live.hold(x)
        a = x + 1
        b = a + 1
        assert (live.live, live.peak) == (3072, 3072)
        del a
        assert (live.live, live.peak) == (2048, 3072)
        c = b + 1
        assert (live.live, live.peak) == (3072, 3072)
        del b, c
        assert (live.live, live.peak) == (1024, 3072)


def test_views_and_in_place_results_are_one_storage() -> None:
    with LiveBytes() as live:
        a = torch.zeros(KB)
        b = a.view(2, -1)[1].t()
        a += 1
        assert live.live == live.peak == 1024
        del a
        assert live.live == 1024  # the view keeps all of it
        del b
        assert live.live == 0


def test_held_twice_is_counted_once() -> None:
    model = nn.Linear(16, 16, bias=False)
    with LiveBytes() as live:
        live.hold([list(model.parameters()), {"again": model.weight}, None, 3])
    assert live.live == 1024


def test_nothing_is_seen_outside() -> None:
    live = LiveBytes()
    with live:
        a = torch.zeros(KB)
    b = a + 1
    assert live.peak == 1024 and b.numel() == KB


def test_activations_saved_for_backward_are_alive_until_it() -> None:
    weight = torch.zeros(KB, requires_grad=True)
    with LiveBytes() as live:
        live.hold(weight)
        loss = (weight.exp().exp().exp()).sum()
        assert live.live == 1024 + 3 * 1024 + 4  # the weight, three saved results, the loss
        loss.backward()
        assert live.live == 1024 + 1024 + 4  # the weight, its gradient, the loss
        assert live.peak >= 5 * 1024
    assert weight.grad is not None


def test_without_autograd_a_chain_holds_two_at_a_time() -> None:
    x = torch.zeros(KB)
    with torch.no_grad(), LiveBytes() as live:
        for _ in range(10):
            x = x.exp()
    assert live.peak == 2048
