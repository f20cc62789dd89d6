"""The hooks of a run: what they look at when, and the files they leave."""

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from spfde_exp.data import Dataset, ImageSet, loader_of
from spfde_exp.errors import UserError
from spfde_exp.files import write_atomic
from spfde_exp.hooks.cka import cka
from spfde_exp.hooks.gradient_norms import GradientNorms
from spfde_exp.hooks.representations import Representations, probe_indices
from spfde_exp.hooks.similarity import FinalStructure
from spfde_exp.hooks.snapshots import Snapshots, lost
from spfde_exp.hooks.unforgettable import Unforgettable
from spfde_exp.store import RunFolder
from spfde_exp.train.trainer import Trainer

log = logging.getLogger(__name__)


class RunHooks:
    """Looks at a run between its epochs, and writes ``hooks/NAME.jsonl`` into its folder, one object per epoch.

    `gradient_norms` and `unforgettable` write as the run goes on. `similarity` and `cka` need the final model: each
    epoch leaves a snapshot, and `finish` compares them all. Nothing of what the run trains is changed, and no random
    number of its is drawn.
    """

    def __init__(self, folder: RunFolder, trainer: Trainer, dataset: Dataset | ImageSet) -> None:
        """What `trainer`'s configuration asks for; call `resume` before the first epoch.

        Raises:
            UserError: the test set is too small for CKA.
        """
        self.folder, self.trainer, self.dataset = folder, trainer, dataset
        self.settings = settings = trainer.config.hooks
        self.watching: dict[str, GradientNorms | Unforgettable] = {}
        self.comparing = [name for name in ("similarity", "cka") if getattr(settings, name)]
        self.snapshots = Snapshots(folder.file("hooks") / "snapshots")
        if settings.cka and len(dataset.test_y) < 4:
            raise UserError(f"hooks.cka=true needs 4 test images, and there are {len(dataset.test_y)}")
        if settings.gradient_norms:
            blocks = [name for name, _ in trainer.blocks]
            watch = GradientNorms(trainer.model, trainer.plan.layers, blocks, trainer.optimizer.sgd)
            self.watching["gradient_norms"] = watch

    @property
    def on(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.watching or self.comparing)

    def resume(self, first: int) -> None:
        """Go on at epoch `first`, whose state the trainer has: forget what later epochs have left.

        Raises:
            UserError: what an earlier epoch has left is gone.
        """
        if self.settings.unforgettable:
            self.watching["unforgettable"] = Unforgettable(self.trainer.sieve.counter)
        if self.on:
            self.folder.file("hooks").mkdir(exist_ok=True)
        if first == 0:
            self.snapshots.clear()
            for name in self.comparing:
                self.folder.file(f"hooks/{name}.jsonl").unlink(missing_ok=True)
        for name in self.watching:
            self.folder.truncate_rows(f"hooks/{name}", first)
            if len(self.folder.rows(f"hooks/{name}")) < first:
                raise lost(self.folder.file(f"hooks/{name}.jsonl"))
        if self.comparing and not self._compared():
            self.snapshots.check(first)

    def after_epoch(self, epoch: int) -> None:
        """Look at the model, trained and sieved."""
        for name, watch in self.watching.items():
            self.folder.append_row(f"hooks/{name}", {"epoch": epoch, **watch.take()})
        if self.comparing:
            self.snapshots.save(epoch, self.trainer.model.state_dict(), self.trainer.masks.state_dict())

    def finish(self) -> None:
        """Compare the model of every epoch with the final one, and remove the snapshots.

        Raises:
            UserError: a snapshot is gone.
        """
        if not self.comparing:
            return
        if not self._compared():
            log.info("run %s: comparing %d epochs with the last", self.folder.signature, self.trainer.plan.epochs)
            rows = self._compare()
            for name in self.comparing:
                lines = (json.dumps(row) + "\n" for row in rows[name])
                write_atomic(self.folder.file(f"hooks/{name}.jsonl"), "".join(lines))
        self.snapshots.clear()

    def _compared(self) -> bool:
        """Whether an earlier attempt has come so far."""
        epochs = self.trainer.plan.epochs
        return all(len(self.folder.rows(f"hooks/{name}")) == epochs for name in self.comparing)

    def _compare(self) -> dict[str, list[dict[str, Any]]]:
        device, last = self.trainer.device, self.trainer.plan.epochs - 1
        layers = [layer.name for layer in self.trainer.plan.layers]
        final = self.snapshots.load(last, device)
        structure = FinalStructure(_weights(final["model"], layers), final["masks"])
        looking = Representations(self.trainer.model, layers, self._images()) if self.settings.cka else None
        kernels = looking.kernels(final["model"]) if looking else {}
        rows: dict[str, list[dict[str, Any]]] = {"similarity": [], "cka": []}
        for epoch in range(last + 1):
            state = self.snapshots.load(epoch, device)
            alike = structure.compare(_weights(state["model"], layers), state["masks"])
            rows["similarity"].append({"epoch": epoch, **alike})
            if looking:
                now = looking.kernels(state["model"])
                rows["cka"].append({"epoch": epoch, "cka": {n: cka(now[n], kernels[n]) for n in layers}})
        return rows

    def _images(self) -> Tensor:
        """The images that representations are told from: normalised, float32 [n, C, H, W], on the device."""
        chosen = self.dataset.take(None, probe_indices(self.dataset.test_y, self.settings.examples), None)
        config, device = self.trainer.config, self.trainer.device
        batches: Iterable[tuple[Tensor, Tensor]] = loader_of(chosen.to(device), config.dataset, 1, device).evaluation(
            "test"
        )
        return torch.cat([x for x, _ in batches])


def _weights(model: Mapping[str, Tensor], layers: Iterable[str]) -> dict[str, Tensor]:
    return {name: model[f"{name}.weight"] for name in layers}
