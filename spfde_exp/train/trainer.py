"""The moving parts of a run: model, masks, sieve and optimiser, and what is done to them in an epoch."""

import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.cost.live import LiveBytes
from spfde_exp.cost.meter import FlopMeter
from spfde_exp.data import Dataset, ImageSet, Loader, loader_of
from spfde_exp.freeze.autofreeze import AutoFreeze, decision_epochs
from spfde_exp.models.base import BlockModel
from spfde_exp.plan import RunPlan
from spfde_exp.schema import Config
from spfde_exp.sieve.choice import make_sieve
from spfde_exp.sparse.layers import prunable_weights
from spfde_exp.sparse.masks import Masks
from spfde_exp.sparse.methods import METHODS
from spfde_exp.sparse.methods.base import Method, Step
from spfde_exp.train.evaluation import evaluate
from spfde_exp.train.forward import Forward
from spfde_exp.train.graphs import CudaRecorder, Recorder, StepGraph
from spfde_exp.train.optim import BlockSGD
from spfde_exp.train.rng import generator
from spfde_exp.train.tally import Tally

if TYPE_CHECKING:
    from spfde_exp.train.sparse_engine import SparseEngine

WATCHED = 2  # steps of an epoch that are run as they are: the meters look at them, and momentum comes about


class Trainer:
    """Does to the model what the plan says of an epoch; keeps no files.

    Attributes:
        model, forward, masks, method, sieve, optimizer: the parts, on the device.
        graph: plays steps again; None where there is nothing to record them.
        autofreeze: decides at run time what freezes; None where the plan says it all.
        plan: what happens when, as far as it is decided.
        steps: optimiser steps so far.
        setup_flops: what the method computed before the first epoch.
    """

    def __init__(
        self,
        config: Config,
        plan: RunPlan,
        model: nn.Module,
        dataset: Dataset | ImageSet,
        device: torch.device,
        recorder: Recorder | None = None,
    ) -> None:
        """The parts of a run, not yet sparse: `begin` a run, or go on with `load_state_dict`.

        Args:
            recorder: records steps; CUDA graphs where there can be any, if not given.
        """
        self.config, self.plan, self.device = config, plan, device
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.blocks: list[tuple[str, list[str]]] = model.blocks()  # type: ignore[operator]
        self.batches: Loader = loader_of(dataset, config.dataset, config.optim.batch_size, device)
        on_device = device.type == "cuda" or recorder is not None  # also without graphs: the same bits
        self.optimizer = BlockSGD(self.model, self.blocks, config.optim, on_device)
        method, sparsity = METHODS[config.method.name], config.sparsity
        self.masks = Masks(
            prunable_weights(self.model, sparsity.prunable) if method.sparse else {},
            sparsity.target,
            scheme=sparsity.scheme,
            block=sparsity.block,
            distribution=sparsity.distribution,
            explicit=sparsity.explicit,
            tolerance=None if method.ranks_globally else sparsity.tolerance,
        )
        self.forward = self._forward(self.model)
        self.forward.engine = self._engine()
        if self.forward.engine:
            from spfde_exp.train.fused_step import fused_step  # loads a compiler, as the engine does

            self.optimizer.sgd.partly = fused_step
        self.masks.attach(self.optimizer.sgd)
        self.method = method(config.method, plan.schedule, self.masks, partial(generator, config.seed))
        # Where nobody changes gradients, and a user's own model cannot have made them from elsewhere.
        self._leaves_gradients = method.gradients is Method.gradients and model.chained
        self.steps = self.setup_flops = 0
        self.sieve = make_sieve(config.sieve, plan.sieve, generator(config.seed, "sieve"), device)
        self.autofreeze = self._autofreeze()
        self.graph = self._step_graph(recorder)
        self._block_of = {layer.name: layer.block for layer in plan.layers}
        self._active: list[str] = []  # masked layers that are not frozen in this epoch

    def _forward(self, model: BlockModel) -> Forward:
        config = self.config
        image = self.batches.shape if config.sparsity.scheme in ("channel", "filter") else None
        return Forward(model, self.device, config.precision, config.freeze, image)

    def _engine(self) -> "SparseEngine | None":
        config = self.config
        if config.engine == "dense":
            return None
        from spfde_exp.train.sparse_engine import make_engine  # loads a compiler

        def dense(model: BlockModel, blocks: int) -> Forward:
            forward = self._forward(model)
            forward.prepare(blocks)
            return forward

        batch = config.optim.batch_size, *self.batches.shape
        steps = sum(self.batches.num_batches(self.plan.sieve.trained(epoch)) for epoch in range(self.plan.epochs))
        return make_engine(config, self.model, self.masks.kept, self.device, batch, steps, dense)

    def _autofreeze(self) -> AutoFreeze | None:
        if self.plan.freeze.known:
            return None
        epochs = decision_epochs(self.plan.epochs, self.config.freeze.intervals, self.config.dst.every)
        return AutoFreeze(self.model, self.blocks, epochs, self.config.freeze.percentile)

    def begin(self, inherited_flops: int = 0) -> None:
        """The initial stage (SpFDE section 4.1): a sparse model. The partial training set is drawn already.

        Args:
            inherited_flops: what the run took that this one starts from.
        """
        with FlopMeter(self.model, self.plan.layers) as meter:
            self.method.draw(self.model, self.batches)
        self.setup_flops = inherited_flops + meter.flops({})

    # -- structure

    def start_epoch(self, epoch: int) -> float:
        """Freeze the blocks whose time has come, change the structure of the others, set learning rates.

        Returns:
            The learning rate of what is never frozen.
        """
        newly = set(self.plan.freeze.newly_frozen(epoch))
        for layer in self.masks.kept:
            if self._block_of[layer] in newly:
                self.method.rest(layer)
        frozen = self.plan.freeze.frozen[epoch]
        self._active = [n for n in self.masks.kept if (block := self._block_of[n]) is None or block >= frozen]
        self.method.start_epoch(epoch, self._active)
        return self.optimizer.start_epoch(self.plan.freeze, epoch)

    # -- one epoch

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Train one epoch over the partial set, then sieve where the plan says so.

        Returns:
            The training half of a row of metrics.jsonl.
        """
        frozen = self.plan.freeze.frozen[epoch]
        flops = 0
        kept = self.kept()
        density = self._density(kept)
        examples = len(self.sieve.kept)
        # The second step, if it is a whole batch, sees momentum in place; a new frozen prefix changes what is alive.
        second = int(examples >= 2 * self.config.optim.batch_size)
        measured = second if epoch == 0 or self.plan.freeze.newly_frozen(epoch) else -1
        live = LiveBytes()
        start = time.perf_counter()
        self.forward.prepare(frozen)
        if self.graph:
            self.graph.start_epoch(frozen)
        tally = Tally()
        order = self.batches.epoch(self.sieve.kept, generator(self.config.seed, "data", epoch))
        steps = self.batches.num_batches(examples)
        with FlopMeter(self.model, self.plan.layers, self.forward.resting) as meter:
            for step, (x, y, indices) in enumerate(order):
                with live if step == measured else nullcontext():
                    if step == measured:
                        live.hold([self._tensors(), [p.grad for p in self.model.parameters()], x, y])
                        live.hold(self.autofreeze.tensors if self.autofreeze else [])
                    at = self.at(epoch, step, steps)
                    meter.dense_gradients = self.method.needs_dense_gradients(at)
                    fast = self._fast(at, len(y))
                    meter.watch(not fast)
                    loss, right, rewired = self.train_step(at, x, y, fast)
                    if fast:
                        meter.repeat(len(y))
                    if rewired:
                        flops += meter.take(kept)
                        kept = self.kept()
                tally.add(loss, right, indices)
            tally.observed_by(self.sieve)
            train_loss, train_acc = tally.means()
        if epoch + 1 in self.plan.sieve_updates():
            self.sieve.update(generator(self.config.seed, "sieve", epoch + 1))
        memory = self.plan.memory(epoch).figure_4
        if self.autofreeze and epoch + 1 in self.autofreeze.epochs:
            depth = self.autofreeze.decide(frozen)
            self.plan = replace(self.plan, freeze=self.plan.freeze.from_epoch(epoch + 1, depth))
        seconds = time.perf_counter() - start
        return {
            "train_loss": train_loss,
            "train_acc": train_acc,
            "sparsity": self.masks.sparsity,
            "density_trained": density,
            "frozen_blocks": frozen,
            "train_examples": examples,
            "epoch_time_s": seconds,
            "epoch_flops": flops + meter.take(kept),
            "memory_bytes": memory,
            "memory_peak_bytes": live.peak if measured >= 0 else None,
            **self.method.metrics(),
        }

    def at(self, epoch: int, index: int, steps: int) -> Step:
        """Where training stands before step `index` of the `steps` of `epoch`."""
        return Step(epoch, index, steps, self.steps, self.optimizer.lr, self.config.optim.weight_decay)

    def _fast(self, at: Step, examples: int) -> bool:
        """Whether a step may be compiled or played from a graph, where no hook sees its layers.

        The first steps of an epoch show the meters what runs, and odd batches are not worth a kernel of their own.
        """
        full = at.index >= WATCHED and examples == self.config.optim.batch_size
        return full and (self.config.compile or self._played(at))

    def _played(self, at: Step) -> bool:
        return self.graph is not None and self.method.repeats(at)

    def train_step(self, at: Step, x: Tensor, y: Tensor, fast: bool = False) -> tuple[Tensor, Tensor, bool]:
        """Train on one batch; needs `start_epoch`.

        Args:
            x: images, ``(batch, channels, height, width)``.
            y: classes, ``(batch,)``.
            fast: by the compiled network or a graph, where there is one.

        Returns:
            The mean loss, whether each prediction was right, and whether a layer keeps another number of weights now.
        """
        self.steps += 1
        self.forward.compiled = fast and self.config.compile
        self.forward.dense = self.method.needs_dense_gradients(at)
        if self._leaves_gradients:
            self.masks.zero_gradients = self.forward.masked_gradients
        if fast and self.graph and self._played(at):
            return *self.graph(x, y), False
        loss, right = self._backward(x, y)
        if not self.method.gradients(at, self._active):
            self.optimizer.sgd.step()
        if self.autofreeze:
            self.autofreeze.observe()
        return loss, right, self.method.stepped(at, self._active)

    def _backward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.optimizer.sgd.zero_grad(set_to_none=True)
        logits = self.forward(x)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=self.config.optim.label_smoothing)
        loss.backward()
        return loss.detach(), logits.detach().argmax(1) == y

    def _step_graph(self, recorder: Recorder | None) -> StepGraph | None:
        """Graphs of the steps of which `Method.repeats` holds: those that do nothing but train.

        None where there can be none: what looks into each step could not look into one that is only played again, and
        a user's own model may compute what depends on more than tensors.
        """
        if self.autofreeze or self.config.hooks.gradient_norms or not self.model.chained:
            return None
        if recorder is None:
            if not self.config.cuda_graphs or self.device.type != "cuda":
                return None
            recorder = CudaRecorder(self.device)

        def step(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            outputs = self._backward(x, y)
            self.optimizer.sgd.step()
            return outputs

        return StepGraph(step, self._tensors, list(self.model.parameters()), recorder)

    def _tensors(self) -> list[Tensor]:
        """Where everything lies that a step reads or changes, but for its batch."""
        momentum = self.optimizer.momentum(self.model).values()
        own = [*self.model.parameters(), *self.model.buffers(), *self.masks.kept.values()]
        resting = self.forward.resting
        copies = [*resting.parameters(), *resting.buffers()] if resting else []
        return [*own, *momentum, *self.optimizer.rates, *copies]

    def kept(self) -> dict[str, int]:
        """Weights that each masked layer keeps now."""
        return {name: self.masks.count(name) for name in self.masks.kept}

    def _density(self, kept: dict[str, int]) -> float:
        weights = sum(self.masks.kept[name].numel() for name in self._active)
        return sum(kept[name] for name in self._active) / weights if weights else 1.0

    def evaluate(self, split: str) -> dict[str, float]:
        """Mean loss and accuracy in percent on ``test`` or ``val``, in evaluation mode."""
        loss, accuracy = evaluate(self.model, self.forward.evaluated, self.batches.evaluation(split))
        return {f"{split}_loss": loss, f"{split}_acc": accuracy}

    # -- checkpoints

    def state_dict(self, epoch: int) -> dict[str, Any]:
        """Everything needed to go on with `epoch`, bit for bit; tensors and plain values only."""
        structure_changes = epoch in self.plan.schedule.updates or (
            epoch < self.plan.epochs and len(self.plan.freeze.newly_frozen(epoch)) > 0
        )
        gradients = {n: w.grad for n, w in self.masks.weights.items() if w.grad is not None}
        return {
            "epoch": epoch,
            "steps": self.steps,
            "setup_flops": self.setup_flops,
            "model": self.model.state_dict(),
            "momentum": self.optimizer.momentum(self.model),
            "masks": self.masks.state_dict(),
            "method": self.method.state_dict(),
            "gradients": gradients if structure_changes else {},
            "sieve": self.sieve.state_dict(),
            "autofreeze": self.autofreeze.state_dict() if self.autofreeze else {},
            "engine": self.forward.engine.state_dict() if self.forward.engine else {},
            "frozen_blocks": list(self.plan.freeze.frozen),
            "rng": torch.get_rng_state(),
            "cuda_rng": [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.forward.forget()
        if self.forward.engine:
            self.forward.engine.load_state_dict(state.get("engine", {}))
        self.masks.load_state_dict(state["masks"])
        self.method.load_state_dict(state.get("method", {}))  # absent in checkpoints of the first versions
        self.steps, self.setup_flops = state.get("steps", 0), state.get("setup_flops", 0)
        self.optimizer.load_momentum(self.model, state["momentum"])
        for name, gradient in state["gradients"].items():
            weight = self.masks.weights[name]
            weight.grad = torch.empty_like(weight).copy_(gradient)
        self.sieve.load_state_dict(state["sieve"])
        if self.autofreeze:
            self.autofreeze.load_state_dict(state["autofreeze"])
            frozen = tuple(state["frozen_blocks"])
            self.plan = replace(self.plan, freeze=replace(self.plan.freeze, frozen=frozen))
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"][0], self.device)
