"""Do both engines train the same network? Whole runs with engine=dense and with engine=sparse.

python benchmarks/engine_runs.py [--seeds 0,1,2] [--data DIR] [--width 1] [--subset 4800] [--only digits|cifar100]
                                 [OVERRIDE ...]

digits    the default run, as `python -m spfde_exp`
cifar100  with `--data`: ResNet-32 of `--width`, three epochs of `--subset` images, in which masks change twice (EM&S),
          blocks freeze and examples are sieved

All by `spfde_exp.run.train`, with one thread, and what OVERRIDE says in addition. "reordered" is engine=dense without
oneDNN: PyTorch's other convolutions, which add in another order. The first table has the largest relative difference
from engine=dense over the seeds, of training losses: of single steps in the first epoch, then of epochs. The second has
the ends of runs over the seeds, accuracy that on test images, and p of Welch's test against engine=dense. Exit status 1
if the first two losses differ by more than roundings, final weights are not those of the plan, or seeds do not explain
how accuracies differ.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from _paired import at_least, print_table, verdict
from _workload import machine
from scipy import stats
from torch.backends.mkldnn import set_flags

from analysis.build import BEYOND_NOISE
from spfde_exp.config import compose
from spfde_exp.run import train
from spfde_exp.store import RunFolder
from spfde_exp.train.trainer import Trainer

WAYS = {"dense": "engine=dense", "sparse": "engine=sparse", "reordered": "engine=dense"}
# Before the first update, and after it. Later on roundings grow, in leaps: a ReLU that opens or shuts by one moves a
# gradient by 1e-3, in whichever way of computing it happens first.
LOSS_MOST = {"step 1": 2e-6, "step 2": 1e-3}
# At the recipe's rate, three such epochs learn nothing.
CIFAR100 = [
    "recipe=cifar100", "epochs=3", "dst.every=1", "dst.milestones=[1]", "dst.stop=2", "dst.base_epochs=3",
    "freeze=0.04", "optim.lr=0.03", "dataset.test_subset=1000",
]  # fmt: skip


class Trained(NamedTuple):
    """A finished run.

    Attributes:
        losses: name of a step or epoch -> training loss.
        kept: weights at the end; None if a layer has not as many as its plan says, or a masked one is not zero.
        summary: of its folder.
    """

    losses: dict[str, float]
    kept: int | None
    summary: dict[str, Any]


Runs = dict[str, list[Trained]]  # way -> a run of each seed


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="at least two")
    parser.add_argument("--data", help="folder that holds cifar-100-python; digits only without it")
    parser.add_argument("--width", type=float, default=1, help="channels of ResNet-32 are multiplied by this")
    parser.add_argument("--subset", type=int, default=4800, help="images of CIFAR-100")
    parser.add_argument("--only", choices=("digits", "cifar100"), help="one of the two")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as on the command line")
    arguments = parser.parse_args()
    studies: dict[str, list[str]] = {"digits": []}
    if arguments.data:
        size = [f"model.width={arguments.width}", f"dataset.subset={arguments.subset}"]
        studies["cifar100"] = [*CIFAR100, *size, f"dataset.root={arguments.data}"]
    losses: list[tuple[str, ...]] = [("run", "of", "loss", "engines differ", "reordered", "target")]
    ends: list[tuple[str, ...]] = [
        ("run", "way", "weights", "accuracy %", "last loss", "p of accuracy", "p of loss", "target", "s of training")
    ]
    for name, study in studies.items():
        if arguments.only in (None, name):
            words = ["threads=1", "logger=none", *study, *arguments.overrides]
            seeds = [[*words, f"seed={seed}"] for seed in arguments.seeds.split(",")]
            by_seed = [{way: trained(way, seed) for way in WAYS} for seed in seeds]
            runs = {way: [of[way] for of in by_seed] for way in WAYS}
            losses += curve(name, runs)
            ends += [end(name, way, runs) for way in WAYS]
    print_table(f"training losses; {machine(torch.device('cpu'))}", losses)
    print_table(f"ends of runs, mean +- deviation of seeds {arguments.seeds}", ends)
    if any("MISSED" in cell for row in [*losses, *ends] for cell in row):
        sys.exit("the engines train different networks")


def trained(way: str, words: Sequence[str]) -> Trained:
    """Train with these overrides, in that way."""
    steps: list[float] = []
    train_step = Trainer.train_step

    def noted(trainer: Trainer, *args: Any) -> Any:
        answer = train_step(trainer, *args)
        if args[0].epoch == 0:
            steps.append(float(answer[0]))
        return answer

    with tempfile.TemporaryDirectory() as folder:
        config = compose([*words, WAYS[way], f"runs_dir={folder}"])
        before, *_ = set_flags(_enabled=way != "reordered", _fp32_precision=None)
        try:
            with patch.object(Trainer, "train_step", noted):
                train(config, words)
        finally:
            set_flags(_enabled=before, _fp32_precision=None)
        return outcome(RunFolder.of(config), steps)


def outcome(folder: RunFolder, steps: Sequence[float]) -> Trained:
    """What is compared of a finished run whose first steps had these losses."""
    rows, plan, summary = folder.metrics(), folder.json("plan"), folder.summary()
    assert plan is not None and summary is not None
    losses = {f"step {step}": steps[step - 1] for step in doubling(len(steps))}
    losses |= {f"epoch {epoch}": rows[epoch - 1]["train_loss"] for epoch in doubling(len(rows))}
    saved = torch.load(folder.file("model.pt"), weights_only=True)
    counts = {layer: int(mask.sum()) for layer, mask in saved["masks"].items()}
    dirty = any(saved["model"][f"{layer}.weight"][~mask].any() for layer, mask in saved["masks"].items())
    right = counts == plan["sparsity"]["layers"] and not dirty
    return Trained(losses, sum(counts.values()) if right else None, summary)


def doubling(last: int) -> list[int]:
    """1, 2, 4 and so on, and `last`."""
    return sorted({2**power for power in range(last.bit_length())} | {last})


def curve(name: str, runs: Runs) -> list[tuple[str, ...]]:
    """Lines of the first table."""
    lines: list[tuple[str, ...]] = []
    for of in runs["dense"][0].losses:
        at = {way: [one.losses[of] for one in by_seed] for way, by_seed in runs.items()}
        ours, reordered = (largest(at[way], at["dense"]) for way in ("sparse", "reordered"))
        told = verdict(ours, LOSS_MOST[of]) if of in LOSS_MOST else "none"
        lines.append((name, of, f"{mean(at['dense']):.3g}", f"{ours:.1e}", f"{reordered:.1e}", told))
    return lines


def largest(ones: Sequence[float], others: Sequence[float]) -> float:
    """Largest relative difference."""
    return max(abs(one / other - 1) for one, other in zip(ones, others, strict=True))


def end(name: str, way: str, runs: Runs) -> tuple[str, ...]:
    """A line of the second table."""
    accuracies = {way: [one.summary["test_acc"] for one in of] for way, of in runs.items()}
    losses = {way: [list(one.losses.values())[-1] for one in of] for way, of in runs.items()}
    p, p_of_loss = (p_value(values[way], values["dense"]) for values in (accuracies, losses))
    counts = {one.kept for one in runs[way]}
    return (
        name,
        way,
        "MISSED" if None in counts else " ".join(map(str, counts)),
        spread(accuracies[way]),
        spread(losses[way]),
        *(("", "") if way == "dense" else (f"{p:.2f}", f"{p_of_loss:.2f}")),
        at_least(p, BEYOND_NOISE) if way == "sparse" else "none",
        f"{mean(one.summary['train_time_s'] for one in runs[way]):.0f}",
    )


def spread(values: Sequence[float]) -> str:
    """Mean and deviation."""
    return f"{mean(values):.3g} +- {stdev(values):.2g}"


def p_value(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of Welch's test that both have one mean."""
    if stdev(ours) == stdev(theirs) == 0:
        return float(ours[0] == theirs[0])
    return float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)


if __name__ == "__main__":
    main()
