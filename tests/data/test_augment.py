"""The batched gather against crops and flips written out image by image."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from spfde_exp.data import Augment, Draws

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def images(n: int = 6, height: int = 5, width: int = 4) -> Tensor:
    return torch.randint(256, (n, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def by_loop(x: Tensor, indices: Tensor, draws: Draws, pad: int) -> Tensor:
    """Pixel by pixel, in float64."""
    _, channels, height, width = x.shape
    out = torch.empty(len(indices), channels, height, width, dtype=torch.float64)
    for b, index in enumerate(indices.tolist()):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    column = width - 1 - j if draws.flip[b] else j
                    source_i, source_j = i + int(draws.top[b]) - pad, column + int(draws.left[b]) - pad
                    inside = 0 <= source_i < height and 0 <= source_j < width
                    pixel = int(x[index, c, source_i, source_j]) if inside else 0
                    out[b, c, i, j] = (pixel / 255 - MEAN[c]) / STD[c]
    return out


@given(st.integers(0, 3), st.booleans(), st.integers(0, 2**32))
def test_batch_equals_the_loop(pad: int, flip: bool, seed: int) -> None:
    x = images()
    augment = Augment(x, MEAN, STD, 255.0, pad, flip)
    indices = torch.tensor([3, 0, 3, 5, 1, 1, 2])
    draws = augment.draw(len(indices), torch.Generator().manual_seed(seed))
    batch = augment.batch(indices, draws)
    torch.testing.assert_close(batch.double(), by_loop(x, indices, draws, pad), rtol=1e-5, atol=1e-5)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_every_offset_and_both_flips_are_drawn_evenly() -> None:
    draws = Augment(images(), MEAN, STD, 255.0, 4, True).draw(90_000, torch.Generator().manual_seed(0))
    cells = (draws.top * 9 + draws.left) * 2 + draws.flip
    counts = cells.bincount(minlength=162).double()
    assert len(counts) == 162
    # Chi-squared with 161 degrees of freedom: mean 161, standard deviation 18.
    expected = 90_000 / 162
    assert ((counts - expected) ** 2 / expected).sum() < 161 + 5 * 18


def test_without_pad_and_flip_nothing_moves() -> None:
    x = images()
    augment = Augment(x, MEAN, STD, 255.0, 0, False)
    indices = torch.arange(len(x))
    batch = augment.batch(indices, augment.draw(len(x), torch.Generator()))
    assert torch.equal(batch, augment.normalise(x))


def test_normalise_equals_torchvision() -> None:
    x = images()
    plain = Augment(x, MEAN, STD, 255.0, 4, True).normalise(x)
    expected = v2.Normalize(MEAN, STD)(v2.ToDtype(torch.float32, scale=True)(x))
    torch.testing.assert_close(plain, expected, rtol=1e-5, atol=1e-5)
    assert plain.is_contiguous(memory_format=torch.channels_last)


def test_scale_of_sixteen() -> None:
    x = torch.tensor([[[[0, 8, 16]]]], dtype=torch.uint8)
    augment = Augment(x, (0.25,), (0.5,), 16.0, 0, False)
    assert augment.normalise(x).flatten().tolist() == [-0.5, 0.5, 1.5]


def test_slice_of_draws_is_a_batch() -> None:
    augment = Augment(images(), MEAN, STD, 255.0, 2, True)
    draws = augment.draw(6, torch.Generator().manual_seed(1))
    indices = torch.arange(6)
    parts = [augment.batch(indices[part], draws[part]) for part in (slice(0, 4), slice(4, 8))]
    assert torch.equal(torch.cat(parts), augment.batch(indices, draws))


@pytest.mark.gpu
def test_same_pixels_on_the_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    x, indices = images(), torch.tensor([4, 2, 2, 0])
    results = []
    for device in ("cpu", "cuda"):
        augment = Augment(x.to(device), MEAN, STD, 255.0, 2, True)
        draws = augment.draw(len(indices), torch.Generator().manual_seed(2)).to(device)
        batch_indices = indices.to(device)
        torch.cuda.set_sync_debug_mode("error")  # the batch may not wait for the host
        try:
            batch = augment.batch(batch_indices, draws)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        results.append(batch.cpu())
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-6)
