"""Structures of the weights of a network, as up to date as its masks."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from spfde_exp.engine.structure import Structure

__all__ = ["Structures"]


class _Known(NamedTuple):
    mask: Tensor
    version: int
    structure: Structure


class Structures:
    """Layer -> structure of its mask, made anew when the mask has been written to.

    PyTorch counts the writes to a tensor, also through its views, for autograd (`Tensor._version`); a mask that was not
    written to since, and is the same tensor, is the same mask. Masks are on the CPU.
    """

    def __init__(self, kept: Mapping[str, Tensor], groups: Mapping[str, int]) -> None:
        """`kept` (`Masks.kept`) is looked at again each time; `groups` are those of convolutions, by name."""
        self.kept, self.groups = kept, groups
        self._known: dict[str, _Known] = {}

    def __getitem__(self, layer: str) -> Structure:
        mask = self.kept[layer]
        known = self._known.get(layer)
        if known is None or known.mask is not mask or known.version != mask._version:
            known = self._known[layer] = _Known(mask, mask._version, Structure(mask, self.groups[layer]))
        return known.structure

    def of(self, layer: str, shape: torch.Size) -> "partial[Structure]":
        """What gives the structure of `layer` whenever it is called; without mask, that of a whole weight."""
        if layer in self.kept:
            return partial(self.__getitem__, layer)
        structure = Structure(torch.ones(shape, dtype=torch.bool), self.groups[layer])
        return partial(_same, structure)


def _same(structure: Structure) -> Structure:
    return structure
