"""docs/loop.md runs as it is printed, and keeps its promises."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

DOC = Path(__file__).parents[2] / "docs" / "loop.md"
LAST_LINES = "    if epoch % 2 == 1:\n        sieve.update(rng)\n"
Snapshot = dict[str, Any]


@pytest.fixture(scope="module")
def ran() -> tuple[dict[str, Any], list[Snapshot]]:
    """The names that the program leaves behind, and what was there after each epoch."""
    (program,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert program.count(LAST_LINES) == 1
    names: dict[str, Any] = {}
    snapshots: list[Snapshot] = []

    def after_epoch() -> None:
        masks = names["masks"]
        snapshots.append(
            {
                "model": {key: value.clone() for key, value in names["model"].state_dict().items()},
                "masks": {layer: mask.clone() for layer, mask in masks.kept.items()},
                "kept": names["sieve"].kept.clone(),
                "queue": names["sieve"].queue.clone(),
            }
        )

    names["after_epoch"] = after_epoch
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        exec(compile(program.replace(LAST_LINES, f"{LAST_LINES}    after_epoch()\n"), str(DOC), "exec"), names)
    finally:
        torch.set_num_threads(before)
    return names, snapshots


def test_counts_are_exact(ran: tuple[dict[str, Any], list[Snapshot]]) -> None:
    names, snapshots = ran
    weights = {"1.0": 16 * 16 * 9, "2.0": 16 * 32 * 9, "3.0": 32 * 32 * 9}
    assert set(snapshots[-1]["masks"]) == set(weights)
    for layer, count in weights.items():
        kept = [int(snapshot["masks"][layer].sum()) for snapshot in snapshots]
        grown, final = int(0.15 * count + 0.5), int(0.10 * count + 0.5)
        grown_until = 12 if layer == "1.0" else 16  # block 1 freezes at 12, the search ends at 16
        assert kept == [grown] * grown_until + [final] * (20 - grown_until)
    assert names["masks"].sparsity == pytest.approx(0.9, abs=1e-4)


def test_masked_entries_are_zero(ran: tuple[dict[str, Any], list[Snapshot]]) -> None:
    names, snapshots = ran
    for snapshot in snapshots:
        for layer, mask in snapshot["masks"].items():
            assert not snapshot["model"][f"{layer}.weight"][~mask].any()
    for layer in ("2.0", "3.0"):  # block 1 is frozen: no gradient at all
        weight, mask = names["masks"].weights[layer], names["masks"].kept[layer]
        momentum = names["optimizer"].state[weight]["momentum_buffer"]
        assert weight.grad is not None and weight.grad[mask].any() and not weight.grad[~mask].any()
        assert momentum[mask].any() and not momentum[~mask].any()
    assert names["masks"].weights["1.0"].grad is None


def test_frozen_blocks_are_bit_equal(ran: tuple[dict[str, Any], list[Snapshot]]) -> None:
    _, snapshots = ran

    def block(index: int, epoch: int) -> dict[str, Tensor]:
        state: dict[str, Tensor] = snapshots[epoch]["model"]
        return {key: value for key, value in state.items() if key.startswith(f"{index}.")}

    frozen = {0: block(0, 9), 1: block(1, 11)}
    assert any("running_mean" in key for key in frozen[0])
    frozen[1]["1.0.weight"] *= snapshots[12]["masks"]["1.0"]  # pruned to the target as it freezes
    for index, first in ((0, 10), (1, 12)):
        assert not torch.equal(block(index, first - 2)[f"{index}.0.weight"], frozen[index][f"{index}.0.weight"])
        for epoch in range(first, 20):
            for key, value in block(index, epoch).items():
                assert torch.equal(value, frozen[index][key]), (key, epoch)
    assert not torch.equal(block(2, 18)["2.0.weight"], block(2, 19)["2.0.weight"])


def test_sieve_keeps_the_share(ran: tuple[dict[str, Any], list[Snapshot]]) -> None:
    _, snapshots = ran
    for snapshot in snapshots:
        assert len(snapshot["queue"]) == 216  # 15 % of 1,437, rounded half up
        assert torch.equal(torch.cat([snapshot["kept"], snapshot["queue"]]).sort().values, torch.arange(1437))
    assert not torch.equal(snapshots[0]["queue"], snapshots[1]["queue"])
    assert torch.equal(snapshots[1]["queue"], snapshots[2]["queue"])  # every second epoch


def test_saves_and_learns(ran: tuple[dict[str, Any], list[Snapshot]]) -> None:
    names, _ = ran
    # Forward multiply-accumulates by hand; frozen for 10 and 8 of 20 epochs, without 2 of 3 passes.
    macs = [9 * 16 * 64, 9 * 16 * 16 * 64, 9 * 16 * 32 * 16, 9 * 32 * 32 * 16]
    saved = 2 / 3 * (macs[0] * 10 + macs[1] * 8) / 20 / (sum(macs) + 320)
    assert names["plan"].reduction() == pytest.approx(saved)
    assert names["accuracy"] > 0.8
