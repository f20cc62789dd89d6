"""Lottery tickets by iterative magnitude pruning with rewinding."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spfde_exp.errors import UserError
from spfde_exp.schema import Config, MethodConfig
from spfde_exp.sparse.methods.ranked import Ranked
from spfde_exp.sparse.schedule import SparsitySchedule, Update, build_schedule

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spfde_exp.sparse.saliency import Examples

LEAST_DROP = 0.01  # 230 levels to 90 %


class Lth(Ranked):
    """Each level is a run of its own: the weights that ended largest in the level before, from the first weights.

    Level n keeps (1 - drop)^n of the weights of all layers together, the last level as many as the target says; the
    level before the first is dense. So targets share their levels. With `rewind_epochs` k, weights go back to epoch k
    instead: the first k epochs are trained dense again, which gives the same weights as in the dense run, and the same
    momentum. So no block may freeze before.
    """

    name = "lth"
    title = "LTH"
    reference = "Frankle & Carbin, ICLR 2019; rewinding: Frankle et al., ICML 2020"
    reads = ("drop", "rewind_epochs")

    final: "dict[str, Tensor]"  # layer -> weights at the end of the level before
    ticket: "dict[str, Tensor]"  # masks that wait for the rewinding

    @classmethod
    def check_settings(cls, config: MethodConfig) -> None:
        super().check_settings(config)
        assert config.drop is not None
        if config.drop < LEAST_DROP:
            raise UserError(
                f"method.drop={config.drop:g} makes too many levels, of which each is a whole training; allowed for "
                f"{cls.name}: a number from {LEAST_DROP:g} below 1"
            )

    @classmethod
    def previous_level(cls, target: float, config: MethodConfig) -> float:
        """Sparsity of the level before the one at `target`; 0.0 is the dense network."""
        assert config.drop is not None
        level, nearer = 0.0, config.drop
        while level < nearer < target:  # below 1e-10 a level is as sparse as the one before
            level, nearer = nearer, round(1 - (1 - config.drop) * (1 - nearer), 10)
        return level

    @classmethod
    def schedule_of(cls, config: Config) -> SparsitySchedule:
        target, rewind = config.sparsity.target, config.method.rewind_epochs
        assert rewind is not None
        if rewind >= config.epochs:
            raise UserError(
                f"method.rewind_epochs={rewind} leaves nothing to train sparse in epochs={config.epochs}; "
                f"allowed: up to {config.epochs - 1}"
            )
        updates = {rewind: Update(target, target)} if rewind else {}
        return build_schedule(config.epochs, target, updates, start=0.0 if rewind else None)

    @classmethod
    def check_freezing(cls, config: Config, first: int) -> None:
        rewind = config.method.rewind_epochs
        assert rewind is not None
        if rewind > first:
            raise UserError(
                f"method.rewind_epochs={rewind} is after epoch {first}, from which blocks may freeze, so that weights "
                f"would not go back to those of the dense run; allowed: up to {first}, or a freeze that begins later"
            )
        if rewind and config.freeze.accounting == "trained":
            raise UserError(
                f"method.rewind_epochs={rewind} with freeze.accounting=trained freezes every level at other epochs; "
                "choose freeze.accounting=flat or method.rewind_epochs=0"
            )

    def inherit(self, final: "dict[str, Tensor]") -> None:
        self.final = final

    def scores(self, model: "nn.Module", examples: "Examples") -> "dict[str, Tensor]":
        return {layer: weight.abs().to(self.masks.kept[layer].device) for layer, weight in self.final.items()}

    def draw(self, model: "nn.Module", examples: "Examples") -> None:
        self.ticket = self.best_masks(self.scores(model, examples))
        if not self.config.rewind_epochs:
            self._use()

    def start_epoch(self, epoch: int, layers: Sequence[str]) -> None:
        if epoch and epoch == self.config.rewind_epochs:
            self._use()

    def rest(self, layer: str) -> None:
        if layer in self.ticket:  # freezes as it rewinds
            self.masks.replace(layer, self.ticket.pop(layer))

    def _use(self) -> None:
        for layer, mask in self.ticket.items():
            self.masks.replace(layer, mask)
        self.ticket = {}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.ticket)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ticket = {layer: mask.to(self.masks.kept[layer].device) for layer, mask in state.items()}
