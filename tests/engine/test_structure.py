"""Index structures of small masks, written out by hand."""

import torch

from spfde_exp.engine.kernels import GROUPS, Ints
from spfde_exp.engine.structure import FEWEST_IN_SLAB, Structure


def two_channels() -> Structure:
    """Weights [3, 2, 3, 3]: none in the second output channel."""
    kept = torch.zeros(3, 2, 3, 3, dtype=torch.bool)
    kept[0, 1, 2, 0] = kept[0, 0, 1, 1] = kept[2, 1, 0, 2] = True
    return Structure(kept)


def test_entries_are_sorted_by_output_channel_then_input() -> None:
    structure = two_channels()
    entries = structure.entries
    assert structure.count == 3
    assert structure.density == 3 / 54
    assert entries.starts.tolist() == [0, 2, 2, 3]
    assert entries.channel.tolist() == [0, 1, 1]
    assert entries.row.tolist() == [1, 2, 0]
    assert entries.column.tolist() == [1, 0, 2]
    assert entries.position.tolist() == [4, 9 + 6, 4 * 9 + 9 + 2]


def test_the_transpose_is_sorted_by_input_channel() -> None:
    transposed = two_channels().phase(1, 0, 0)
    assert transposed.starts.tolist() == [0, 1, 3]
    assert transposed.channel.tolist() == [0, 0, 2]
    assert transposed.row.tolist() == [1, 2, 0]
    assert transposed.position.tolist() == [0, 1, 2]  # into the values


def test_phases_of_a_stride_share_the_non_zeros_out() -> None:
    structure = two_channels()
    odd, even = structure.phase(2, 1, 1), structure.phase(2, 0, 0)
    assert odd.position.tolist() == [0]
    assert even.position.tolist() == [1, 2]
    assert structure.phase(2, 0, 1).position.tolist() == structure.phase(2, 1, 0).position.tolist() == []


def test_groups_take_as_many_as_they_can_of_one_channel() -> None:
    kept = torch.zeros(3, 15, 1, 1, dtype=torch.bool)
    kept[0, :15] = kept[2, :2] = True
    groups = Structure(kept).groups
    largest = GROUPS[0]
    assert groups.size.tolist() == [largest] * (15 // largest) + [4] * (15 % largest // 4) + [2, 1, 2]
    assert groups.channel.tolist() == [0] * (len(groups.size) - 1) + [2]
    assert (groups.first[1:] == groups.first[:-1] + groups.size[:-1]).all()


def test_slabs_hold_enough_and_are_kept() -> None:
    structure = Structure(torch.ones(2, 4 * FEWEST_IN_SLAB, 1, 1, dtype=torch.bool))
    entries, made = structure.entries, []

    def offsets() -> Ints:
        made.append(1)
        return entries.channel

    rows = structure.rows("a", entries, offsets, planes_at_once=2 * FEWEST_IN_SLAB)
    assert rows.bounds.tolist() == [[0, 4 * FEWEST_IN_SLAB], [32, 96], [64, 128]]
    assert structure.rows("a", entries, offsets, planes_at_once=1) is rows
    thin = structure.rows("b", entries, offsets, planes_at_once=1)
    assert len(thin.bounds) - 1 == 4
    assert len(made) == 2


def test_an_empty_mask() -> None:
    structure = Structure(torch.zeros(2, 3, 3, 3, dtype=torch.bool))
    assert (structure.count, structure.density, len(structure.groups.size)) == (0, 0.0, 0)
    assert structure.entries.starts.tolist() == [0, 0, 0]
    assert structure.phase(2, 0, 1).starts.tolist() == [0, 0, 0, 0]
