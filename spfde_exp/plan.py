"""Everything that will happen in a run, as data: sparsity, freezing and sieving schedules, and what they cost."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from spfde_exp.cost.flops import block_shares, dense_training_flops, epoch_flops, forward_flops, paper_training_flops
from spfde_exp.cost.layers import Layer, block_of, measure_layers
from spfde_exp.cost.memory import Memory, epoch_memory, mest_memory
from spfde_exp.cost.stored import peak_bytes
from spfde_exp.data.specs import SPECS
from spfde_exp.errors import UserError
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.freeze.solver import FreezeProblem, single_shot
from spfde_exp.models import build
from spfde_exp.rounding import kept_count, share_of
from spfde_exp.schema import Config
from spfde_exp.sieve.sizes import sieve_sizes
from spfde_exp.sparse.distribution import uniform
from spfde_exp.sparse.layers import prunable_weights
from spfde_exp.sparse.methods import METHODS
from spfde_exp.sparse.schedule import SparsitySchedule


@dataclass(frozen=True)
class RunPlan:
    """The schedules of a run and the sizes they act on.

    Attributes:
        layers: every weight layer with its cost.
        prunable: names of the masked layers; empty for dense training.
        schedule: sparsity per epoch and its updates.
        freeze: frozen leading blocks per epoch.
        examples: size of the training set, before sieving.
        removed: examples left out by sieving at any time.
        exchanged: examples exchanged at each sieve update.
        sieve_every: epochs between two sieve updates; 0 without sieving.
        batch_size: examples per step.
        other_params: parameters that are no layer's weight (biases, BN), per block index or None.
        peak_bytes: predicted peak of live tensor bytes as PyTorch executes a step.
    """

    layers: tuple[Layer, ...]
    prunable: tuple[str, ...]
    schedule: SparsitySchedule
    freeze: FreezePlan
    examples: int
    removed: int
    exchanged: int
    sieve_every: int
    batch_size: int
    other_params: dict[int | None, int]
    peak_bytes: int

    @property
    def epochs(self) -> int:
        """Length of the run."""
        return self.freeze.epochs

    def kept(self, epoch: int) -> dict[str, int]:
        """Weights kept in each masked layer while `epoch` is trained; a frozen layer rests at the target."""
        blocks = {layer.name: (layer.block, layer.weights) for layer in self.layers}
        kept = {}
        for name in self.prunable:
            block, weights = blocks[name]
            resting = block is not None and self.freeze.is_frozen(block, epoch)
            kept[name] = kept_count(weights, self.schedule.target if resting else self.schedule.trained[epoch])
        return kept

    def final_kept(self) -> dict[str, int]:
        """Weights kept in each masked layer at the end."""
        return {
            layer.name: kept_count(layer.weights, self.schedule.target)
            for layer in self.layers
            if layer.name in self.prunable
        }

    def sieve_updates(self) -> range:
        """Epochs at whose start the partial training set has just changed."""
        return range(self.sieve_every, self.epochs, self.sieve_every) if self.sieve_every else range(0)

    def epoch_flops(self, epoch: int) -> int:
        """Predicted training FLOPs of one epoch."""
        return epoch_flops(self.layers, self.kept(epoch), self.freeze.frozen[epoch], self.examples - self.removed)

    def memory(self, epoch: int) -> Memory:
        """Predicted training memory during one epoch."""
        return epoch_memory(
            self.layers, self.kept(epoch), self.freeze.frozen[epoch], self.batch_size, self.other_params
        )

    def prediction(self) -> dict[str, Any]:
        """What the run will cost, with the keys of summary.json.

        `train_flops_simulated` is what kernels compute that know masks only as zeros: frozen blocks and sieved
        examples are saved, masked weights are not.
        """
        final, memories = self.final_kept(), [self.memory(epoch) for epoch in range(self.epochs)]
        weights = {layer.name: layer.weights for layer in self.layers}
        params = sum(weights.values()) + sum(self.other_params.values())
        masked = sum(weights[name] for name in self.prunable)
        active = params - masked + sum(final.values())
        dense = dense_training_flops(self.layers, self.examples, self.epochs)
        freeze = self.freeze.reduction()
        density = [1 - sparsity for sparsity in self.schedule.trained]
        sieve = self.removed / self.examples
        densest = max(range(self.epochs), key=lambda epoch: (sum(self.kept(epoch).values()), -epoch))
        return {
            "sparsity": 1 - sum(final.values()) / masked if masked else 0.0,
            "sparsity_overall": 1 - active / params,
            "params": params,
            "params_active": active,
            "train_flops": sum(self.epoch_flops(epoch) for epoch in range(self.epochs)),
            "train_flops_dense": dense,
            "train_flops_simulated": sum(
                epoch_flops(self.layers, {}, depth, self.examples - self.removed) for depth in self.freeze.frozen
            ),
            "train_flops_paper": paper_training_flops(dense, self.schedule.mean_density, freeze, sieve),
            "flops_reduction_freeze": freeze,
            "flops_reduction_freeze_trained": self.freeze.reduction(density),
            "flops_reduction_sieve": sieve,
            "flops_reduction_total": 1 - (1 - freeze) * (1 - sieve),
            "inference_flops": forward_flops(self.layers, final),
            "memory_avg_bytes": sum(m.figure_4 for m in memories) / len(memories),
            "memory_min_bytes": memories[-1].figure_4,
            "memory_peak_predicted_bytes": self.peak_bytes,
            "memory_mest_bytes": mest_memory(self.layers, self.kept(densest)),
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
                "examples": self.examples,
                "removed": self.removed,
                "exchanged": self.exchanged,
                "updates": list(self.sieve_updates()),
            },
            "memory": {
                "first_epoch": self.memory(0).components(),
                "last_epoch": self.memory(self.epochs - 1).components(),
            },
            "prediction": self.prediction(),
        }


def train_size(config: Config) -> int:
    """Training examples of a run, before sieving.

    Raises:
        UserError: the subset is larger than the data set.
    """
    name = config.dataset.name
    full = SPECS[name].train
    rest = full - share_of(full, config.dataset.val_fraction)
    if config.dataset.subset is not None and config.dataset.subset > rest:
        raise UserError(f"dataset.subset={config.dataset.subset} is more than the {rest} training examples of {name}")
    return config.dataset.subset or rest


def build_model(config: Config) -> nn.Module:
    """The model of a run, on the CPU, with weights drawn from the global generator."""
    spec = SPECS[config.dataset.name]
    return build(config.model.name, config.model.width, spec.classes, spec.shape[0])


def make_plan(config: Config, model: nn.Module | None = None) -> RunPlan:
    """Plan the run of a resolved configuration; `model` saves building one.

    Raises:
        UserError: the freezing target is out of reach, a layer cannot hold the sparsity, or sizes do not fit.
    """
    examples = train_size(config)
    model = model or build_model(config)
    blocks: list[tuple[str, list[str]]] = model.blocks()  # type: ignore[operator]
    names = [name for name, _ in blocks]
    layers = measure_layers(model, SPECS[config.dataset.name].shape, blocks)
    method = METHODS[config.method.name]
    sparse, dst = method.sparse, config.dst
    prunable = prunable_weights(model, config.sparsity.prunable) if sparse else {}
    schedule = method.schedule(
        config.epochs, config.sparsity.target, config.method.p, dst.every, dst.milestones, dst.stop
    )
    sizes = {layer.name: layer.weights for layer in layers}
    uniform({name: sizes[name] for name in prunable}, config.sparsity.target)
    shares = block_shares(layers, len(blocks))
    plan = FreezePlan.none(config.epochs, names, shares)
    if config.freeze.scheme == "single_shot":
        density = [1 - s for s in schedule.trained] if config.freeze.accounting == "trained" else None
        problem = FreezeProblem(config.model.name, names, shares, config.epochs, dst.every, density)
        first = None if config.freeze.t_freeze == "auto" else int(config.freeze.t_freeze)
        plan = single_shot(problem, config.freeze.target, first, config.freeze.max_fraction)
    other: dict[int | None, int] = {}
    weights = {f"{layer.name}.weight" for layer in layers}
    for name, parameter in model.named_parameters():
        if name not in weights:
            block = block_of(name, blocks)
            other[block] = other.get(block, 0) + parameter.numel()
    removed, exchanged = sieve_sizes(examples, config.sieve.ratio, config.sieve.update_ratio)
    if removed >= examples:
        raise UserError(f"sieve={config.sieve.ratio:g} would leave none of {examples} examples; lower it")
    return RunPlan(
        layers=tuple(layers),
        prunable=tuple(prunable),
        schedule=schedule,
        freeze=plan,
        examples=examples,
        removed=removed,
        exchanged=exchanged,
        sieve_every=int(config.sieve.every) if config.sieve.mode != "none" else 0,
        batch_size=config.optim.batch_size,
        other_params=other,
        peak_bytes=peak_bytes(
            model,
            SPECS[config.dataset.name].shape,
            min(config.optim.batch_size, examples - removed),
            sum(sizes[name] for name in prunable),
            max(layer.outputs for layer in layers),
        ),
    )
