"""The moving parts of a run: model, masks, sieve and optimiser, and what is done to them in an epoch."""

import time
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.cost.live import LiveBytes
from spfde_exp.cost.meter import FlopMeter
from spfde_exp.data import Batches, Dataset
from spfde_exp.plan import RunPlan
from spfde_exp.schema import Config
from spfde_exp.sieve.sieve import Sieve
from spfde_exp.sparse.layers import prunable_weights
from spfde_exp.sparse.masks import Masks
from spfde_exp.sparse.methods import METHODS
from spfde_exp.train.device import autocast
from spfde_exp.train.optim import BlockSGD
from spfde_exp.train.rng import generator


class Trainer:
    """Does to the model what the plan says of an epoch; keeps no files.

    Attributes:
        model, masks, sieve, optimizer: the parts, on the device.
        plan: what happens when.
    """

    def __init__(self, config: Config, plan: RunPlan, model: nn.Module, dataset: Dataset, device: torch.device) -> None:
        """The initial stage (SpFDE section 4.1): a random sparse model and a random partial training set."""
        self.config, self.plan, self.device = config, plan, device
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.blocks: list[tuple[str, list[str]]] = model.blocks()  # type: ignore[operator]
        self.method = METHODS[config.method.name]
        self.batches = Batches(dataset, config.optim.batch_size, config.dataset.pad, config.dataset.flip)
        self.optimizer = BlockSGD(self.model, self.blocks, config.optim)
        which, target = config.sparsity.prunable, config.sparsity.target
        self.masks = Masks(prunable_weights(self.model, which) if self.method.sparse else {}, target)
        self.masks.attach(self.optimizer.sgd)
        if config.method.init == "magnitude":
            self.masks.init_magnitude(target)
        else:
            self.masks.init_random(target, generator(config.seed, "mask"))
        self.sieve = Sieve(
            plan.examples,
            config.sieve.ratio,
            generator(config.seed, "sieve"),
            update_ratio=config.sieve.update_ratio,
            never_learned=config.sieve.never_learned,
            device=device,
        )
        self._block_of = {layer.name: layer.block for layer in plan.layers}

    # -- structure

    def start_epoch(self, epoch: int) -> float:
        """Freeze the blocks whose time has come, change the structure of the others, set learning rates.

        Returns:
            The learning rate of what is never frozen.
        """
        newly = set(self.plan.freeze.newly_frozen(epoch))
        for index, layer in enumerate(self.masks.kept):
            block = self._block_of[layer]
            if block is not None and block in newly:
                self.masks.prune_to(layer, self.plan.schedule.target, self.importance(layer))
            elif epoch in self.plan.schedule.updates and not self._rests(layer, epoch):
                self.method.update(
                    self.masks,
                    layer,
                    self.plan.schedule.updates[epoch],
                    self.importance,
                    generator(self.config.seed, "structure", epoch, index),
                )
        return self.optimizer.start_epoch(self.plan.freeze, epoch)

    def importance(self, layer: str) -> Tensor:
        """|w| + lambda |g| of every weight of `layer` (MEST eq. 1), g the gradient of the last step."""
        weight = self.masks.weights[layer]
        score = weight.detach().abs()
        if weight.grad is not None and self.config.method.importance_lambda:
            score = score + self.config.method.importance_lambda * weight.grad.abs()
        return score

    # -- one epoch

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Train one epoch over the partial set, then sieve where the plan says so.

        Returns:
            The training half of a row of metrics.jsonl.
        """
        frozen = self.plan.freeze.frozen[epoch]
        kept = {name: self.masks.count(name) for name in self.masks.kept}
        examples = len(self.sieve.kept)
        # The second step, if it is a whole batch, sees momentum in place; a new frozen prefix changes what is alive.
        second = int(examples >= 2 * self.config.optim.batch_size)
        measured = second if epoch == 0 or self.plan.freeze.newly_frozen(epoch) else -1
        live = LiveBytes()
        self._set_modes(frozen)
        start = time.perf_counter()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        order = self.batches.epoch(self.sieve.kept, generator(self.config.seed, "data", epoch))
        with FlopMeter(self.model, self.plan.layers) as meter:
            for step, (x, y, indices) in enumerate(order):
                with live if step == measured else nullcontext():
                    if step == measured:
                        live.hold([list(self.model.parameters()), list(self.model.buffers()), x, y])
                        live.hold([[p.grad for p in self.model.parameters()], self.masks.state_dict()])
                        live.hold(self.optimizer.sgd.state_dict()["state"])
                    loss, correct = self._step(x, y, frozen)
                self.sieve.observe(indices, correct)
                loss_sum += loss * len(y)
                right += correct.sum()
            train_loss, train_acc = float(loss_sum) / examples, 100 * int(right) / examples
        if epoch + 1 in self.plan.sieve_updates():
            self.sieve.update(generator(self.config.seed, "sieve", epoch + 1))
        seconds = time.perf_counter() - start
        active = [name for name in kept if not self._rests(name, epoch)]
        weights = {layer.name: layer.weights for layer in self.plan.layers}
        return {
            "train_loss": train_loss,
            "train_acc": train_acc,
            "sparsity": self.masks.sparsity,
            "density_trained": sum(kept[n] for n in active) / sum(weights[n] for n in active) if active else 1.0,
            "frozen_blocks": frozen,
            "train_examples": examples,
            "epoch_time_s": seconds,
            "epoch_flops": meter.flops(kept),
            "memory_bytes": self.plan.memory(epoch).figure_4,
            "memory_peak_bytes": live.peak if measured >= 0 else None,
        }

    def _step(self, x: Tensor, y: Tensor, frozen: int) -> tuple[Tensor, Tensor]:
        self.optimizer.sgd.zero_grad(set_to_none=True)
        with autocast(self.device, self.config.precision):
            logits = self.model(x, frozen=frozen)
        loss = F.cross_entropy(logits.float(), y)
        loss.backward()
        self.optimizer.sgd.step()
        return loss.detach(), logits.detach().argmax(1) == y

    def _rests(self, layer: str, epoch: int) -> bool:
        block = self._block_of[layer]
        return block is not None and self.plan.freeze.is_frozen(block, epoch)

    def _set_modes(self, frozen: int) -> None:
        self.model.train()
        if self.config.freeze.bn == "eval":
            for _, members in self.blocks[:frozen]:
                for member in members:
                    self.model.get_submodule(member).eval()

    @torch.no_grad()
    def evaluate(self, split: str) -> dict[str, float]:
        """Mean loss and accuracy in percent on ``test`` or ``val``, in evaluation mode."""
        self.model.eval()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        seen = 0
        for x, y in self.batches.evaluation(split):
            with autocast(self.device, self.config.precision):
                logits = self.model(x)
            loss_sum += F.cross_entropy(logits.float(), y, reduction="sum")
            right += (logits.argmax(1) == y).sum()
            seen += len(y)
        return {f"{split}_loss": float(loss_sum) / seen, f"{split}_acc": 100 * int(right) / seen}

    # -- checkpoints

    def state_dict(self, epoch: int) -> dict[str, Any]:
        """Everything needed to go on with `epoch`, bit for bit; tensors and plain values only."""
        structure_changes = epoch in self.plan.schedule.updates or (
            epoch < self.plan.epochs and len(self.plan.freeze.newly_frozen(epoch)) > 0
        )
        gradients = {n: w.grad for n, w in self.masks.weights.items() if w.grad is not None}
        return {
            "epoch": epoch,
            "model": self.model.state_dict(),
            "momentum": self.optimizer.momentum(self.model),
            "masks": self.masks.state_dict(),
            "gradients": gradients if structure_changes else {},
            "sieve": self.sieve.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.masks.load_state_dict(state["masks"])
        self.optimizer.load_momentum(self.model, state["momentum"])
        for name, gradient in state["gradients"].items():
            weight = self.masks.weights[name]
            weight.grad = torch.empty_like(weight).copy_(gradient)
        self.sieve.load_state_dict(state["sieve"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"][0], self.device)
