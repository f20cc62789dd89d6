"""Linear centred kernel alignment (Kornblith et al., 2019), unbiased, in float64."""

import math

import torch
from torch import Tensor

CHUNK = 1 << 16  # features of all examples that are held in float64 at once
CONSTANT = 1e-12  # of the mean square: less variance than that is rounding of float32


class Kernel:
    """The U-centred linear kernel of one representation: all that `cka` needs of it, n x n however many features.

    The inner product of two U-centred kernels is, up to n (n - 3), the unbiased estimate of HSIC (Song et al., 2012,
    eq. 4), so that their cosine lies within [-1, 1].

    Attributes:
        values: float64 [n, n], zero on the diagonal, on the device of the features. All zero for a representation that
            tells no example from another: a constant one, or one that is not finite.
        norm: their Frobenius norm.
    """

    def __init__(self, features: Tensor) -> None:
        """Take in `features` [n, ...] of n examples, flattened; n is at least 4, or ValueError is raised."""
        n = len(features)
        if n < 4:
            raise ValueError(f"unbiased CKA needs at least 4 examples, not {n}")
        flat = features.flatten(1)
        gram = torch.zeros(n, n, dtype=torch.float64, device=flat.device)
        square = torch.zeros((), dtype=torch.float64, device=flat.device)
        largest = flat.abs().max().double() if flat.numel() else square
        for part in flat.split(CHUNK, dim=1):
            scaled = part.double() / largest  # so that no square overflows
            square += scaled.square().sum()
            scaled -= scaled.mean(0)  # changes no U-centred kernel, and saves digits
            gram += scaled @ scaled.T
        values = _u_centred(gram)
        self.norm = math.sqrt(float((values * values).sum()))
        if not CONSTANT * float(square) < self.norm < math.inf:  # also where something is not a number
            values, self.norm = torch.zeros_like(values), 0.0
        self.values = values


def _u_centred(gram: Tensor) -> Tensor:
    """`gram` [n, n] less what depends on one of two examples only, zero on the diagonal (Szekely and Rizzo, 2014)."""
    n = len(gram)
    off = gram.clone().fill_diagonal_(0)
    rows = off.sum(0) / (n - 2)
    centred = off - rows[:, None] - rows[None, :] + off.sum() / ((n - 1) * (n - 2))
    return centred.fill_diagonal_(0)


def cka(one: Kernel, other: Kernel) -> float:
    """Unbiased linear CKA of two representations of the same examples, at most 1, about 0 where they are unrelated.

    Never NaN: a representation that tells no example from another is like none, 0.0, also like itself.
    """
    if not one.norm or not other.norm:
        return 0.0
    value = float((one.values * other.values).sum()) / (one.norm * other.norm)
    return max(-1.0, min(1.0, value))
