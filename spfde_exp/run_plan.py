"""Everything that will happen in a run, as data: sparsity, freezing and sieving schedules, and what they cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from spfde_exp.cost.flops import dense_training_flops, epoch_flops, forward_flops, paper_training_flops
from spfde_exp.cost.layers import Layer
from spfde_exp.cost.memory import Memory, epoch_memory, mest_memory
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.sieve.plan import SievePlan
from spfde_exp.sparse.distribution import Distribution
from spfde_exp.sparse.schedule import SparsitySchedule

# What depends on how many examples are removed, and on what is frozen.
SIEVED = {
    "train_flops", "train_flops_paper", "train_flops_simulated", "flops_reduction_sieve", "flops_reduction_total",
}  # fmt: skip
FROZEN = {
    "train_flops", "train_flops_paper", "train_flops_simulated", "flops_reduction_freeze",
    "flops_reduction_freeze_trained", "flops_reduction_total", "memory_avg_bytes", "memory_min_bytes",
}  # fmt: skip
State = tuple[int, tuple[float, ...]]  # frozen leading blocks; sparsity of each block, the last of what is in none


@dataclass(frozen=True)
class Phase:
    """What epochs share that have the same blocks at rest, the same sparsity of each block, and as many examples.

    Attributes:
        kept: weights kept in each masked layer.
        flops: training FLOPs of an epoch.
        memory: training memory.
    """

    kept: dict[str, int]
    flops: int
    memory: Memory


@dataclass(frozen=True)
class RunPlan:
    """The schedules of a run and the sizes they act on.

    Attributes:
        layers: every weight layer with its cost.
        distribution: what each masked layer keeps at a sparsity; without layers for dense training.
        schedule: sparsity per epoch and its updates.
        freeze: frozen leading blocks per epoch.
        sieve: examples per epoch.
        batch_size: examples per step.
        other_params: parameters that are no layer's weight (biases, BN), per block index or None.
        peak_bytes: predicted peak of live tensor bytes as PyTorch executes a step.
        footprint: what the method holds at its peak, see `Method.footprint`.
        estimated: keys of the prediction that the method makes estimates of.
        ended: weights that each masked layer kept at the end, where that is known by now.
    """

    layers: tuple[Layer, ...]
    distribution: Distribution
    schedule: SparsitySchedule
    freeze: FreezePlan
    sieve: SievePlan
    batch_size: int
    other_params: dict[int | None, int]
    peak_bytes: int
    footprint: str = "sparse"
    estimated: frozenset[str] = frozenset()
    ended: Mapping[str, int] | None = None

    @property
    def prunable(self) -> tuple[str, ...]:
        """Names of the masked layers; empty for dense training."""
        return tuple(self.distribution.layouts)

    @property
    def epochs(self) -> int:
        """Length of the run."""
        return self.freeze.epochs

    @cached_property
    def states(self) -> tuple[State, ...]:
        """What rests, and how sparse it is, in each epoch.

        A block is pruned to the target as it freezes, and stays there: also when it wakes, until the first update in
        which it takes part.
        """
        blocks, target = len(self.freeze.blocks), self.schedule.target
        rested = [False] * blocks  # since the last update of this block
        answer = []
        for epoch, (depth, trained) in enumerate(zip(self.freeze.frozen, self.schedule.trained, strict=True)):
            if epoch in self.schedule.updates:
                rested[depth:] = [False] * (blocks - depth)
            rested[:depth] = [True] * depth
            answer.append((depth, (*(target if rest else trained for rest in rested), trained)))
        return tuple(answer)

    @cached_property
    def phases(self) -> dict[tuple[State, int], Phase]:
        """State and examples -> phase, in the order of their first epochs."""
        return {key: self._phase(*key) for key in dict.fromkeys(map(self._key, range(self.epochs)))}

    def _key(self, epoch: int) -> tuple[State, int]:
        return self.states[epoch], self.sieve.trained(epoch)

    def _phase(self, state: State, examples: int) -> Phase:
        frozen, sparsities = state
        masked = set(self.prunable)
        kept = {
            layer.name: self.distribution.weights(layer.name, sparsities[-1 if layer.block is None else layer.block])
            for layer in self.layers
            if layer.name in masked
        }
        flops = epoch_flops(self.layers, kept, frozen, examples)
        units = self.distribution.layouts
        memory = epoch_memory(self.layers, kept, frozen, self.batch_size, self.other_params, units)
        return Phase(kept, flops, memory)

    def phase(self, epoch: int) -> Phase:
        """The phase that `epoch` belongs to."""
        return self.phases[self._key(epoch)]

    def kept(self, epoch: int) -> dict[str, int]:
        """Weights kept in each masked layer while `epoch` is trained."""
        return dict(self.phase(epoch).kept)

    def final_kept(self) -> dict[str, int]:
        """Weights kept in each masked layer at the end."""
        if self.ended is not None:
            return dict(self.ended)
        return {
            layer.name: self.distribution.weights(layer.name, self.schedule.target)
            for layer in self.layers
            if layer.name in self.prunable
        }

    def sieve_updates(self) -> range:
        """Epochs at whose start the partial training set has just changed."""
        return self.sieve.updates(self.epochs)

    def epoch_flops(self, epoch: int) -> int:
        """Predicted training FLOPs of one epoch."""
        return self.phase(epoch).flops

    def train_flops(self, first: int = 0) -> int:
        """Predicted training FLOPs of the epochs from `first` on."""
        return sum(self.epoch_flops(epoch) for epoch in range(first, self.epochs))

    def simulated_flops(self, first: int = 0) -> int:
        """What kernels compute that know masks only as zeros, in the epochs from `first` on.

        Frozen blocks and sieved examples are saved, masked weights are not.
        """
        found = Counter((self.freeze.frozen[epoch], self.sieve.trained(epoch)) for epoch in range(first, self.epochs))
        return sum(count * epoch_flops(self.layers, {}, *key) for key, count in found.items())

    def memory(self, epoch: int) -> Memory:
        """Predicted training memory during one epoch."""
        return self.phase(epoch).memory

    def prediction(self) -> dict[str, Any]:
        """What the run will cost, with the keys of summary.json.

        Where only training tells, ``unknown`` names the keys whose values are but estimates: as if nothing more were
        saved than is certain (upper bounds), as if a method that shares out the weights itself did it as
        `sparsity.distribution` says, and without the dense gradients that some methods take.
        """
        return dict(self._prediction)

    @property
    def unknown(self) -> list[str]:
        """Keys of the prediction that only training tells, sorted."""
        keys = (set() if self.sieve.known else SIEVED) | (set() if self.freeze.known else FROZEN)
        return sorted(keys | (self.estimated if self.ended is None else set()))

    def realised(self, rows: Sequence[Mapping[str, Any]], kept: Mapping[str, int]) -> "RunPlan":
        """The plan as it came out: nothing in it is unknown.

        Args:
            rows: all of metrics.jsonl.
            kept: weights of each masked layer at the end.
        """
        freeze = self.freeze
        if not freeze.known:
            freeze = replace(freeze, frozen=tuple(row["frozen_blocks"] for row in rows), known=True)
        return replace(self, freeze=freeze, sieve=self.sieve.realised(rows[-1]["train_examples"]), ended=kept)

    @cached_property
    def _prediction(self) -> dict[str, Any]:
        final = self.final_kept()
        weights = {layer.name: layer.weights for layer in self.layers}
        params = sum(weights.values()) + sum(self.other_params.values())
        masked = sum(weights[name] for name in self.prunable)
        active = params - masked + sum(final.values())
        dense = dense_training_flops(self.layers, self.sieve.examples, self.epochs)
        freeze = self.freeze.reduction()
        density = [1 - sparsity for sparsity in self.schedule.trained]
        sieve = self.sieve.reduction([1.0] * self.epochs)
        densest = max(self.phases.values(), key=lambda phase: sum(phase.kept.values()))
        epochs = [self.phase(epoch) for epoch in range(self.epochs)]
        return {
            "sparsity": 1 - sum(final.values()) / masked if masked else 0.0,
            "sparsity_overall": 1 - active / params,
            "params": params,
            "params_active": active,
            "train_flops": self.train_flops(),
            "train_flops_dense": dense,
            "train_flops_simulated": self.simulated_flops(),
            "train_flops_paper": paper_training_flops(
                dense, self.schedule.mean_density, freeze, self.sieve.reduction(density)
            ),
            "flops_reduction_freeze": freeze,
            "flops_reduction_freeze_trained": self.freeze.reduction(density),
            "flops_reduction_sieve": sieve,
            "flops_reduction_total": 1 - (1 - freeze) * (1 - sieve),
            "inference_flops": forward_flops(self.layers, final),
            "memory_avg_bytes": sum(phase.memory.figure_4 for phase in epochs) / len(epochs),
            "memory_min_bytes": min(phase.memory.figure_4 for phase in epochs),
            "memory_peak_predicted_bytes": self.peak_bytes,
            "memory_mest_bytes": mest_memory(self.layers, densest.kept, self.distribution.layouts, self.footprint),
            **({"unknown": self.unknown} if self.unknown else {}),
        }

    def to_dict(self) -> dict[str, Any]:
        """The contents of plan.json."""
        return {
            "freeze": {"frozen_blocks": list(self.freeze.frozen), "blocks": self.freeze.ranges()},
            "sparsity": {
                "target": self.schedule.target,
                "trained": list(self.schedule.trained),
                "updates": {
                    str(epoch): {"prune_to": update.prune_to, "grow_to": update.grow_to}
                    for epoch, update in sorted(self.schedule.updates.items())
                },
                "layers": self.final_kept(),
            },
            "sieve": {
                "examples": self.sieve.examples,
                "removed": self.sieve.removed if self.sieve.known else None,
                "exchanged": self.sieve.exchanged,
                "updates": list(self.sieve_updates()),
            },
            "memory": {
                "first_epoch": self.memory(0).components(),
                "last_epoch": self.memory(self.epochs - 1).components(),
            },
            "prediction": self.prediction(),
        }
