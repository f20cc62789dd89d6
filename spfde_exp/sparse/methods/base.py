"""What a sparse-training method decides: its masks at the start, and when and how they change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from spfde_exp.errors import UserError
from spfde_exp.schema import BOUNDS, Config, MethodConfig
from spfde_exp.sparse.schedule import SparsitySchedule, build_schedule

if TYPE_CHECKING:  # a method never needs torch itself, so that --help and status do not load it
    import torch
    from torch import nn

    from spfde_exp.sparse.masks import Masks
    from spfde_exp.sparse.saliency import Examples

Footprint = Literal["sparse", "dense_gradients", "dense"]


@dataclass(frozen=True)
class Step:
    """Where training stands.

    Attributes:
        epoch: counted from 0.
        index, steps: this step within the epoch, and how many there are.
        count: steps since the start of the run.
        lr: learning rate of what is never frozen.
        weight_decay: of the optimiser.
    """

    epoch: int
    index: int
    steps: int
    count: int
    lr: float
    weight_decay: float


class Method:
    """A method with a random mask that never changes. Others override what they do differently.

    The trainer calls `draw` once before training, `start_epoch` and `rest` at the start of epochs, and in every step
    `gradients` after the backward pass and `stepped` after the optimiser. Layers are those that are not frozen.

    Attributes:
        name: what `method=` takes.
        title: what papers call it.
        reference: the paper it comes from.
        sparse: whether anything is masked.
        dynamic: whether masks change during training.
        uses_dst: whether `dst.milestones` and `dst.stop` say when.
        reads: keys of the config group `method` that matter to it, besides `name`.
        schemes: what `sparsity.scheme` may be; empty for all.
        own_densities: whether it decides itself what each layer keeps, so that plans can only estimate it.
        dense_gradients: whether some steps take the gradients of masked weights too, which plans do not count.
        ranks_globally: whether only the number of weights of all layers together is given.
        footprint: what it holds at its peak, for `memory_mest_bytes`: ``sparse`` weights and gradients, sparse weights
            and ``dense_gradients``, or weights and gradients that are both ``dense`` (MEST appendix B).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    sparse: ClassVar[bool] = True
    dynamic: ClassVar[bool] = False
    uses_dst: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ()
    schemes: ClassVar[tuple[str, ...]] = ("unstructured",)
    own_densities: ClassVar[bool] = False
    dense_gradients: ClassVar[bool] = False
    ranks_globally: ClassVar[bool] = False
    footprint: ClassVar[Footprint] = "sparse"

    @classmethod
    def mutation_ratio(cls, target: float, p: Any) -> Any:
        """The mutation ratio that `p` (a number or "auto") stands for at sparsity `target`.

        Raises:
            UserError: the ratio is impossible at this sparsity.
        """
        return p

    @classmethod
    def schedule(
        cls, epochs: int, target: float, p: Any, every: int, milestones: list[int], stop: int
    ) -> SparsitySchedule:
        """What sparsity is trained when, for a run of `epochs`; all epochs already scaled to it."""
        return build_schedule(epochs, target, {})

    @classmethod
    def schedule_of(cls, config: Config) -> SparsitySchedule:
        """The schedule of a resolved configuration."""
        dst = config.dst
        return cls.schedule(config.epochs, config.sparsity.target, config.method.p, dst.every, dst.milestones, dst.stop)

    @classmethod
    def check_settings(cls, config: MethodConfig) -> None:
        """Whether every key that it reads has a value, and one where it takes no list.

        Raises:
            UserError: it has none, or several.
        """
        for key in cls.reads:
            if (value := getattr(config, key)) is None or value == []:
                given, (rule, _) = "null" if value is None else value, BOUNDS.get(f"method.{key}", ("a value", None))
                raise UserError(f"method.{key}={given} is impossible with method={cls.name}; allowed: {rule}")
        for key in cls.reads:
            value, phases = getattr(config, key), config.phases if "phases" in cls.reads else None
            if key == "phases" or not isinstance(value, list):
                continue
            if phases is None:
                raise UserError(f"method.{key}={value} is a list, and method={cls.name} takes one number")
            if len(value) != len(phases):
                raise UserError(
                    f"method.{key}={value} has {len(value)} values for {len(phases)} phases, method.phases={phases}; "
                    "allowed: one number, or one for each"
                )

    @classmethod
    def check_freezing(cls, config: Config, first: int) -> None:
        """Whether it is what it says with blocks that freeze from epoch `first` on (the run's length: none does).

        Raises:
            UserError: it is not.
        """

    @classmethod
    def previous_level(cls, target: float, config: MethodConfig) -> float | None:
        """Sparsity of the run that one at `target` starts from; None where there is none."""
        return None

    def __init__(
        self,
        config: MethodConfig,
        schedule: SparsitySchedule,
        masks: "Masks",
        generator: "Callable[..., torch.Generator]",
    ) -> None:
        """A method for one run.

        Args:
            config: the group `method`, resolved.
            schedule: what `schedule` gave.
            masks: all-true; `draw` sets them.
            generator: random numbers of the run for a purpose, such as ``generator("structure", epoch, layer)``.
        """
        self.config, self.plan, self.masks, self.generator = config, schedule, masks, generator

    def inherit(self, final: "dict[str, torch.Tensor]") -> None:
        """Take over layer -> weights at the end of the run that this one starts from; called before `draw`."""

    def draw(self, model: "nn.Module", examples: "Examples") -> None:
        """Set the initial masks, and zero what they exclude.

        Args:
            model: the network, freshly initialised, for methods that look at it.
            examples: the training set, likewise.
        """
        if self.config.init == "magnitude":
            self.masks.init_magnitude(self.plan.target)
        else:
            self.masks.init_random(self.plan.target, self.generator("mask"))

    def start_epoch(self, epoch: int, layers: Sequence[str]) -> None:
        """Change the structure of `layers` at the start of `epoch`, where it is time."""

    def rest(self, layer: str) -> None:
        """Bring `layer`, frozen from now on, to the density at which it stays."""

    def needs_dense_gradients(self, step: Step) -> bool:
        """Whether this step's gradients of masked weights are used; they cost the FLOPs of a dense layer."""
        return False

    def repeats(self, step: Step) -> bool:
        """Whether `gradients` and `stepped` do nothing in this step, so that it may be played from a CUDA graph."""
        return type(self).gradients is Method.gradients and type(self).stepped is Method.stepped

    def gradients(self, step: Step, layers: Sequence[str]) -> bool:
        """Look at the gradients, which are dense until the optimiser steps.

        Returns:
            Whether the masks were changed in place of the optimiser's step.
        """
        return False

    def stepped(self, step: Step, layers: Sequence[str]) -> bool:
        """Look at the weights after the optimiser's step.

        Returns:
            Whether a layer keeps another number of weights now.
        """
        return False

    def metrics(self) -> dict[str, float]:
        """What an epoch's row of metrics.jsonl is to hold besides."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs besides the masks; tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
