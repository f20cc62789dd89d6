"""Every kept example once per epoch, with its index; equal seeds give equal batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.data import Batches, Dataset, load


def counting_set(n: int) -> Dataset:
    """Example i is a 2x2 image of the value i with label i % 7, so that a pixel tells its index."""
    index = torch.arange(n)
    x = index.to(torch.uint8)[:, None, None, None].expand(n, 1, 2, 2).contiguous()
    return Dataset("counting", x, index % 7, x[:5], index[:5] % 7, 7, (0.0,), (1.0,), 1.0, "")


def batches(n: int, batch_size: int, pad: int = 0, flip: bool = True) -> Batches:
    return Batches(counting_set(n), batch_size, pad, flip)


@given(st.sets(st.integers(0, 59), min_size=1), st.integers(1, 70), st.integers(0, 2**32))
def test_every_kept_example_once_with_its_pixels_and_label(kept: set[int], batch_size: int, seed: int) -> None:
    loader = batches(60, batch_size)
    seen: list[int] = []
    sizes: list[int] = []
    for x, y, index in loader.epoch(torch.tensor(sorted(kept)), torch.Generator().manual_seed(seed)):
        assert torch.equal(x[:, 0], index[:, None, None].expand(-1, 2, 2).float())
        assert torch.equal(y, index % 7)
        seen += index.tolist()
        sizes.append(len(index))
    assert sorted(seen) == sorted(kept)
    assert len(sizes) == loader.num_batches(len(kept))
    assert all(size == batch_size for size in sizes[:-1]) and 0 < sizes[-1] <= batch_size


def test_equal_seeds_equal_batches_and_epochs_differ() -> None:
    loader = batches(60, 16, pad=1)
    kept = torch.arange(60)
    runs = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(5)
        runs.append([list(loader.epoch(kept, generator)) for _ in range(2)])
    for first, again in zip(runs[0], runs[1], strict=True):
        for left, right in zip(first, again, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    orders = [torch.cat([index for _, _, index in epoch]) for epoch in runs[0]]
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], kept)


def test_an_epoch_draws_when_it_is_asked_for() -> None:
    # So that a generator's state after the call does not depend on how far the batches were read.
    generator = torch.Generator().manual_seed(0)
    epoch = batches(60, 16).epoch(torch.arange(60), generator)
    state = generator.get_state()
    list(epoch)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_evaluation_is_in_order_and_plain(split: str) -> None:
    data = load("digits", "unused", val_fraction=0.1)
    x, y = {
        "train": (data.train_x, data.train_y),
        "val": (data.val_x, data.val_y),
        "test": (data.test_x, data.test_y),
    }[split]
    assert x is not None and y is not None
    parts = list(Batches(data, 32, 1, True).evaluation(split, batch_size=100))
    assert [len(labels) for _, labels in parts] == [100] * (len(y) // 100) + [len(y) % 100]
    assert torch.equal(torch.cat([labels for _, labels in parts]), y)
    pixels = (x.double() / 16 - data.mean[0]) / data.std[0]
    torch.testing.assert_close(torch.cat([part for part, _ in parts]).double(), pixels, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("split", ["val", "dev"])
def test_absent_split(split: str) -> None:
    with pytest.raises(ValueError, match=f"no split '{split}'"):
        batches(10, 2).evaluation(split)
