"""What a field of a table can show of a run, in the unit of summary.json, and in the one that is printed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # listing tables loads no pandas
    import pandas as pd

Read: TypeAlias = Callable[["pd.DataFrame", "pd.DataFrame"], "pd.Series"]  # of a cell's runs and of the baseline's


@dataclass(frozen=True)
class Quantity:
    """A number of a run.

    Attributes:
        name: as in the column `quantity` of the printed values.
        title: over a column.
        unit: a shown value is that much.
        digits: decimals shown.
        of_machine: whether it depends on the device, so that a difference to the paper's means nothing.
        deviates: whether runs of one configuration differ in it; else no deviation is shown.
        read: from the runs of a cell, and those of the table's baseline, to a value each; the column of that name
            where it is None.
    """

    name: str
    title: str
    unit: float = 1
    digits: int = 2
    deviates: bool = True
    of_machine: bool = False
    read: Read | None = None

    def of(self, runs: "pd.DataFrame", baseline: "pd.DataFrame") -> list[float]:
        """The value of each of `runs` that has one."""
        values = _column(runs, self.name) if self.read is None else self.read(runs, baseline)
        return [float(value) for value in values.dropna()]


def _column(runs: "pd.DataFrame", name: str) -> "pd.Series":
    """A column as numbers, missing where a run has none that is finite."""
    import pandas as pd

    values = pd.to_numeric(runs.reindex(columns=[name])[name], errors="coerce").astype(float)
    return values.where(values.abs() < float("inf"))


def _seconds(runs: "pd.DataFrame") -> "pd.Series":
    return _column(runs, "epoch_time_mean_s")


def _accelerated(runs: "pd.DataFrame", baseline: "pd.DataFrame") -> "pd.Series":
    """Share of the baseline's seconds that is saved, as in SpFDE Tables A11 and A12; by seeds, where it has them."""
    seconds = _seconds(baseline)
    same = runs["seed"].map(dict(zip(baseline["seed"], seconds, strict=True)))
    return 1 - _seconds(runs) / same.fillna(seconds.mean())


def _per_reduction(runs: "pd.DataFrame", baseline: "pd.DataFrame") -> "pd.Series":
    saved = _column(runs, "flops_reduction_total")
    return _accelerated(runs, baseline) / saved.where(saved > 0)


def _per_iteration(runs: "pd.DataFrame", baseline: "pd.DataFrame") -> "pd.Series":
    return _column(runs, "train_time_s") / _column(runs, "steps")


ACCURACY = Quantity("test_acc", "accuracy %")
FLOPS_E15 = Quantity("train_flops_paper", "FLOPs e15", 1e15, deviates=False)
FLOPS_E18 = Quantity("train_flops_paper", "train FLOPs e18", 1e18, deviates=False)
INFERENCE_E9 = Quantity("inference_flops", "inference e9", 1e9, deviates=False)
REDUCTION = Quantity("flops_reduction_total", "FLOPs reduction %", 0.01, deviates=False)
FREEZE_REDUCTION = Quantity("flops_reduction_freeze", "FLOPs reduction %", 0.01, deviates=False)
T_FREEZE = Quantity("t_freeze", "first freezing epoch", digits=0)
EPOCH_TIME = Quantity("epoch_time_mean_s", "epoch time s", of_machine=True)
ACCELERATION = Quantity("acceleration", "acceleration %", 0.01, read=_accelerated)
PER_REDUCTION = Quantity("acceleration_per_reduction", "acceleration / FLOPs reduction", read=_per_reduction)
ITERATION_TIME = Quantity("iteration_time_s", "s per iteration", digits=4, of_machine=True, read=_per_iteration)
FLOPS_E15_OF_MACS = Quantity("train_flops_paper", "train MACs e15", 2e15, deviates=False)
PARAMETERS = Quantity("params_active", "parameters e6", 1e6, deviates=False)
MEMORY_MB = Quantity("memory_mest_bytes", "weights, gradients and indices MB", 1e6, deviates=False)
MEMORY_AVG_MB = Quantity("memory_avg_bytes", "average training memory MB", 1e6)
MEMORY_MIN_MB = Quantity("memory_min_bytes", "training memory after the last freeze MB", 1e6)
TRAIN_FLOPS = Quantity("train_flops", "training FLOPs as executed")
TRAIN_FLOPS_DENSE = Quantity("train_flops_dense", "training FLOPs of dense training")
UNFORGETTABLE = Quantity("unforgettable", "unforgettable examples", digits=0)
