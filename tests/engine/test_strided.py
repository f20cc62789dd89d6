"""Where vectors lie in rows whose pixels are apart."""

import pytest

from spfde_exp.engine.strided import jumps


@pytest.mark.parametrize(
    ("pixels", "n", "step", "itemsize", "expected"),
    [
        (3, 16, 32, 4, [0, 32, 64]),
        (3, 8, 16, 8, [0, 16, 32]),
        (2, 48, 100, 4, [0, 16, 32, 100, 116, 132]),
        (3, 32, 32, 4, [0, 16, 32, 48, 64, 80]),  # contiguous
    ],
)
def test_vectors_lie_in_pixels(pixels: int, n: int, step: int, itemsize: int, expected: list[int]) -> None:
    assert jumps(pixels, n, step, itemsize).tolist() == expected
