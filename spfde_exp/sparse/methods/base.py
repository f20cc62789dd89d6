"""What a sparse-training method decides: its schedule, and what an update does to one layer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from spfde_exp.sparse.schedule import SparsitySchedule, Update, build_schedule

if TYPE_CHECKING:  # a method never needs torch itself, so that --help and status do not load it
    import torch

    from spfde_exp.sparse.masks import Masks


class Method:
    """A method with a mask that is drawn once and never changes; the dynamic ones override two functions.

    Attributes:
        name: what `method=` takes.
        sparse: whether anything is masked.
        dynamic: whether masks change during training.
    """

    name: ClassVar[str]
    sparse: ClassVar[bool] = True
    dynamic: ClassVar[bool] = False

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
        """When to change what, for a run of `epochs`; all epochs already scaled to it."""
        return build_schedule(epochs, target, {})

    @classmethod
    def update(
        cls,
        masks: "Masks",
        layer: str,
        update: Update,
        importance: Callable[[str], "torch.Tensor"],
        generator: "torch.Generator",
    ) -> None:
        """Change the mask of `layer` as `update` says. `importance(layer)` scores its weights, shape of the weight."""
        raise TypeError(f"{cls.name} has no updates")
