"""Weights in files: what is zero is left out where that makes them smaller."""

import io
import warnings
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

INDEX = torch.int32


def compact(state: Mapping[str, Tensor], masked: Collection[str], block: Sequence[int]) -> dict[str, Tensor]:
    """`state` with the weights that `masked` names as sparse matrices, filters x (channels x kernel).

    Each in the smallest of three forms: as it is, compressed rows (CSR), or compressed rows of blocks of the size
    `block` (BSR), with indices of 32 bits.
    """
    with warnings.catch_warnings():  # that sparse tensors are new in torch
        warnings.simplefilter("ignore")
        return {name: _smallest(value, block) if name in masked else value for name, value in state.items()}


def _smallest(weight: Tensor, block: Sequence[int]) -> Tensor:
    matrix = weight.flatten(1)
    forms = [weight, _short(matrix.to_sparse_csr())]
    if not any(size % part for size, part in zip(matrix.shape, block, strict=True)):
        forms.append(_short(matrix.to_sparse_bsr((block[0], block[1]))))
    return min(forms, key=stored_bytes)


def _short(matrix: Tensor) -> Tensor:
    rows, columns, values = matrix.crow_indices().to(INDEX), matrix.col_indices().to(INDEX), matrix.values()
    return torch.sparse_compressed_tensor(
        rows, columns, values, matrix.shape, layout=matrix.layout, check_invariants=True
    )


def _parts(value: Tensor) -> list[Tensor]:
    return [value] if value.layout == torch.strided else [value.crow_indices(), value.col_indices(), value.values()]


def stored_bytes(value: Tensor) -> int:
    """Bytes of a tensor's numbers and indices."""
    return sum(part.numel() * part.element_size() for part in _parts(value))


def stored_values(value: Tensor) -> int:
    """Numbers that a tensor stores, without indices."""
    return _parts(value)[-1].numel()


def file_content(state: Mapping[str, Tensor]) -> bytes:
    """A file for ``torch.load``, with `state` and nothing that shares its memory."""
    file = io.BytesIO()
    torch.save({name: value if _parts(value)[1:] else value.detach().clone() for name, value in state.items()}, file)
    return file.getvalue()
