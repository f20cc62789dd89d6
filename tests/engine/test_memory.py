"""Memory for compiled kernels."""

import numpy as np
import pytest

from spfde_exp.engine.memory import aligned
from spfde_exp.engine.vectors import BYTES


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_of_an_aligned_array_lie_in_one_line_of_a_cache(dtype: type[np.floating]) -> None:
    like = np.empty(0, dtype)
    for size in (0, 1, 15, 16, 17, 1000, 1 << 18):
        array = aligned(size, like)
        assert array.shape == (size,) and array.dtype == dtype
        assert array.ctypes.data % BYTES == 0 and array.flags.c_contiguous
