"""SpFDE's Algorithm 1, once more in plain Python, against the trainer: decisions agree in every epoch.

The reference knows the papers and the generators (`spfde_exp.train.rng`), and takes images and the network
from the product; masks, prune and grow, freezing, learning rates, SGD, forgetting and queue are its own. It
differentiates the whole network and ignores the gradients of frozen blocks.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.config import compose
from spfde_exp.data import load
from spfde_exp.plan import build_model, make_plan
from spfde_exp.schema import Config
from spfde_exp.train.rng import generator
from spfde_exp.train.trainer import Trainer

EPOCHS, EVERY, SUBSET = 66, 2, 160
MILESTONE, STOP = 36, 50  # 22 and 30 of 40 epochs, times 1.65: 36.3 and 49.5, to the interval
OVERRIDES = [
    "recipe=digits", f"epochs={EPOCHS}", f"dst.every={EVERY}", "seed=5", "dst.milestones=[22]",
    "dst.stop=30", "dst.base_epochs=40", "model=resnet14", "model.width=0.25",
    "freeze=0.2", "sieve=0.2", f"dataset.subset={SUBSET}", "dataset.pad=0", "dataset.flip=false",
]  # fmt: skip


def trainer_of(*overrides: str) -> Trainer:
    config: Config = compose([*OVERRIDES, *overrides])
    torch.manual_seed(config.seed)
    model = build_model(config)
    data = load("digits", config.dataset.root, subset=SUBSET, split_seed=config.dataset.split_seed)
    trainer = Trainer(config, make_plan(config, model), model, data, torch.device("cpu"))
    trainer.begin()
    return trainer


def freeze_epochs(target: float, fraction: float) -> list[int]:
    """Freeze epoch of each block of ResNet-14 (4, 8, 16 channels) on 8x8 digits, by brute force."""
    macs = []
    for before, after, side in [(4, 4, 8), (4, 4, 8), (4, 8, 4), (8, 8, 4), (8, 16, 2), (16, 16, 2)]:
        shortcut = before * after if before != after else 0
        macs.append((9 * before * after + 9 * after * after + shortcut) * side**2)
    macs[0] += 9 * 4 * 64  # the stem
    whole = 3 * (sum(macs) + 16 * 10) * EPOCHS
    most = math.floor(fraction * len(macs) + 0.5)

    def saved(starts: list[int]) -> float:
        return sum(2 * cost * (EPOCHS - start) for cost, start in zip(macs, starts, strict=False)) / whole

    for first in reversed(range(EVERY, EPOCHS, EVERY)):
        for blocks in range(1, most + 1):
            starts = [first + EVERY * k for k in range(blocks)]
            if starts[-1] < EPOCHS and saved(starts) >= target:
                head = starts[:-1]
                last = min(range(starts[-1], EPOCHS), key=lambda epoch: abs(saved([*head, epoch]) - target))
                return [*head, last]
    raise AssertionError("out of reach")


class Reference:
    """Trains `model` with masks, momentum and forgetting counts in arrays and lists of its own."""

    def __init__(self, model: nn.Module, data: Any, normalise: Any, optim: Any, seed: int) -> None:
        self.model, self.seed, self.optim, self.normalise, self.data = model, seed, optim, normalise, data
        self.weights = dict(model.named_parameters())
        self.velocity: dict[str, Tensor] = {}
        convs = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
        self.layers = [f"{name}.weight" for name in convs[1:]]
        self.blocks = ["stage1.0", "stage1.1", "stage2.0", "stage2.1", "stage3.0", "stage3.1"]
        self.starts = freeze_epochs(0.2, 0.867)
        draw = generator(seed, "mask")
        self.masks = {}
        for name in self.layers:
            shape = self.weights[name].shape
            self.masks[name] = self.top(torch.rand(shape, generator=draw).flatten().tolist(), 0.9)
            self.apply(name)
        order = torch.randperm(SUBSET, generator=generator(seed, "sieve")).tolist()
        self.queue, self.kept = order[:32], sorted(order[32:])  # 20 % of 160
        self.waiting = set(self.queue)
        self.answers: dict[int, list[bool]] = {}

    @staticmethod
    def top(scores: list[float], sparsity: float) -> list[bool]:
        """The positions to keep: the highest scores, the lower index first, (1 - s) n rounded half up."""
        count = math.floor(round((1 - sparsity) * len(scores), 6) + 0.5)
        best = set(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])
        return [i in best for i in range(len(scores))]

    @torch.no_grad()
    def apply(self, name: str) -> None:
        mask = torch.tensor(self.masks[name]).view(self.weights[name].shape)
        self.weights[name].copy_(torch.where(mask, self.weights[name], 0.0))
        if name in self.velocity:
            self.velocity[name].copy_(torch.where(mask, self.velocity[name], 0.0))

    def block(self, name: str) -> int | None:
        if name.startswith("stem"):
            return 0
        return next((k for k, block in enumerate(self.blocks) if name.startswith(block + ".")), None)

    def frozen(self, name: str, epoch: int) -> bool:
        block = self.block(name)
        return block is not None and block < len(self.starts) and epoch >= self.starts[block]

    def lr(self, name: str, epoch: int) -> float:
        block = self.block(name)
        active = self.starts[block] if block is not None and block < len(self.starts) else EPOCHS
        return float(4e-8 + (self.optim.lr - 4e-8) * (1 + math.cos(math.pi * epoch / active)) / 2)

    def prune(self, name: str, sparsity: float) -> None:
        weight = self.weights[name]
        score = np.abs(weight.detach().numpy())
        if weight.grad is not None:
            score = score + np.float32(0.01) * np.abs(weight.grad.numpy())
        pairs = zip(score.ravel().tolist(), self.masks[name], strict=True)
        scores = [number if kept else -math.inf for number, kept in pairs]
        self.masks[name] = self.top(scores, sparsity)
        self.apply(name)

    def grow(self, name: str, sparsity: float, draw: torch.Generator) -> None:
        luck = torch.rand(self.weights[name].shape, generator=draw).flatten().tolist()
        luck = [math.inf if kept else number for number, kept in zip(luck, self.masks[name], strict=True)]
        self.masks[name] = self.top(luck, sparsity)

    def change_structure(self, epoch: int) -> None:
        for index, name in enumerate(self.layers):
            if self.frozen(name, epoch):
                if epoch and not self.frozen(name, epoch - 1):
                    self.prune(name, 0.9)  # rests at the target
            elif epoch % EVERY == 0 and epoch <= STOP:
                if epoch:
                    self.prune(name, 0.9)
                if epoch < STOP:
                    p = 0.05 if epoch < MILESTONE else 0.025
                    self.grow(name, 0.9 - p, generator(self.seed, "structure", epoch, index))

    def train(self, epoch: int) -> None:
        masks = {name: torch.tensor(kept).view(self.weights[name].shape) for name, kept in self.masks.items()}
        self.model.train()
        for name, module in self.model.named_modules():
            if self.frozen(f"{name}.", epoch):
                module.training = False
        order = torch.tensor(self.kept)
        order = order[torch.randperm(len(order), generator=generator(self.seed, "data", epoch))]
        for batch in order.split(self.optim.batch_size):
            for weight in self.weights.values():
                weight.grad = None
            logits = self.model(self.normalise(self.data.train_x[batch]))
            F.cross_entropy(logits, self.data.train_y[batch]).backward()
            for name, weight in self.weights.items():
                if self.frozen(name, epoch):
                    weight.grad = None
                else:
                    assert weight.grad is not None
                    if name in masks:
                        weight.grad.mul_(masks[name])
                    self.step(name, weight, weight.grad, self.lr(name, epoch))
            right = logits.argmax(1) == self.data.train_y[batch]
            for example, correct in zip(batch.tolist(), right.tolist(), strict=True):
                self.answers.setdefault(example, []).append(correct)

    @torch.no_grad()
    def step(self, name: str, weight: Tensor, gradient: Tensor, lr: float) -> None:
        change = gradient.add(weight, alpha=self.optim.weight_decay)
        if name in self.velocity:
            self.velocity[name].mul_(self.optim.momentum).add_(change)
        else:
            self.velocity[name] = change.clone()
        weight.add_(self.velocity[name], alpha=-lr)

    def sieve(self, epoch: int) -> None:
        draw = generator(self.seed, "sieve", epoch)
        ties = torch.rand(len(self.kept), generator=draw, dtype=torch.float64).tolist()
        ranked = []
        for example, tie in zip(self.kept, ties, strict=True):
            seen = self.answers[example]
            falls = sum(a and not b for a, b in pairwise(seen))
            ranked.append((falls if any(seen) else math.inf, tie, example))
        for _, _, example in sorted(ranked)[:10]:  # 30 % of 32 is 9.6
            self.kept.remove(example)
            self.queue.append(example)
        for _ in range(10):
            self.waiting.discard(self.queue[0])
            self.kept.append(self.queue.pop(0))
        if not self.waiting:
            self.queue = [self.queue[k] for k in torch.randperm(len(self.queue), generator=draw).tolist()]
        self.kept.sort()
        self.answers = {}


def test_the_trainer_decides_what_algorithm_1_decides() -> None:
    trainer = trainer_of()
    torch.manual_seed(5)
    model = build_model(trainer.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = trainer.batches
    reference = Reference(model, batches.dataset, batches.augment.normalise, trainer.config.optim, 5)
    updates, ranks = 0, set()
    for epoch in range(EPOCHS):
        lr = trainer.start_epoch(epoch)
        reference.change_structure(epoch)
        assert trainer.plan.freeze.frozen[epoch] == sum(start <= epoch for start in reference.starts)
        assert lr == pytest.approx(reference.lr("classifier.weight", epoch))
        names = {parameter: name for name, parameter in trainer.model.named_parameters()}
        rates = {names[p]: g["lr"] for g in trainer.optimizer.sgd.param_groups for p in g["params"]}
        active = [name for name in reference.weights if not reference.frozen(name, epoch)]
        assert rates == pytest.approx({name: reference.lr(name, epoch) for name in active})
        counts = {f"{name}.weight": trainer.masks.count(name) for name in trainer.masks.kept}
        assert counts == {name: sum(mask) for name, mask in reference.masks.items()}
        for name, mask in trainer.masks.kept.items():
            assert mask.flatten().tolist() == reference.masks[f"{name}.weight"], (epoch, name)
        assert trainer.sieve.kept.tolist() == reference.kept, epoch
        row = trainer.train_epoch(epoch)
        reference.train(epoch)
        if (epoch + 1) % EVERY == 0 and epoch + 1 < EPOCHS:
            ranks |= {tuple(seen) for seen in reference.answers.values()}
            reference.sieve(epoch + 1)
            updates += 1
        assert trainer.sieve.queue.tolist() == reference.queue, epoch
        assert row["epoch_flops"] == trainer.plan.epoch_flops(epoch)
        assert row["train_examples"] == SUBSET - 32
        assert row["frozen_blocks"] == trainer.plan.freeze.frozen[epoch]
    assert updates == 32 and len(ranks) == 4  # learned, forgotten, always and never right: not ties alone
    for name, weight in trainer.model.named_parameters():
        torch.testing.assert_close(weight, reference.weights[name], rtol=1e-4, atol=1e-5)
    assert abs(trainer.masks.sparsity - 0.9) < 0.005


def state_of_blocks(trainer: Trainer, count: int) -> dict[str, Tensor]:
    """Parameters, buffers and masks of the first `count` blocks, copied."""
    members = [f"{member}." for _, names in trainer.blocks[:count] for member in names]
    state = {**trainer.model.state_dict(), **{f"{k}.mask": v for k, v in trainer.masks.state_dict().items()}}
    return {name: value.clone() for name, value in state.items() if name.startswith(tuple(members))}


@pytest.mark.parametrize("bn", ["eval", "train"])
def test_frozen_blocks_are_bit_equal_to_the_end(bn: str) -> None:
    trainer = trainer_of("epochs=12", f"freeze.bn={bn}")
    at_freeze: dict[str, Tensor] = {}
    for epoch in range(12):
        trainer.start_epoch(epoch)
        depth = trainer.plan.freeze.frozen[epoch]
        at_freeze = {**state_of_blocks(trainer, depth), **at_freeze}
        frozen = {p for name, p in trainer.model.named_parameters() if name in at_freeze}
        held = {p for group in trainer.optimizer.sgd.param_groups for p in group["params"]}
        assert not frozen & held and not frozen & set(trainer.optimizer.sgd.state)
        assert len(frozen) + len(held) == len(list(trainer.model.parameters()))
        assert trainer.train_epoch(epoch)["epoch_flops"] == trainer.plan.epoch_flops(epoch)
        assert all(p.grad is None for p in frozen)
        trainer.evaluate("test")
    end = state_of_blocks(trainer, depth)
    assert depth >= 3 and set(end) == set(at_freeze)
    moved = {name for name, value in end.items() if not torch.equal(value, at_freeze[name])}
    statistics = {name for name in end if "running_" in name or "num_batches" in name}
    assert moved == (statistics if bn == "train" else set())


def test_nothing_is_saved_for_the_backward_pass_of_frozen_blocks() -> None:
    trainer = trainer_of("epochs=12")
    inside: list[Tensor] = []  # what modules of frozen blocks put out; kept, so that no address is used twice
    saved: list[Tensor] = []

    def addresses(tensors: list[Tensor]) -> set[int]:
        return {tensor.untyped_storage().data_ptr() for tensor in tensors}

    border: list[Tensor] = []  # the input of the first trained block, which its weight gradient needs
    sizes = {}
    for epoch in range(12):
        trainer.start_epoch(epoch)
        depth = trainer.plan.freeze.frozen[epoch]
        blocks = [trainer.model.get_submodule(name) for _, members in trainer.blocks[:depth] for name in members]
        modules = [module for block in blocks for module in block.modules()]
        hooks = [m.register_forward_hook(lambda _, __, out: inside.append(out)) for m in modules]
        hooks += [m.register_forward_hook(lambda _, __, out: border.append(out)) for m in blocks[-1:]]
        for kept in (inside, border, saved):
            kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            trainer.train_epoch(epoch)
        for hook in hooks:
            hook.remove()
        parameters = [t for m in modules for t in (*m.parameters(False), *m.buffers(False))]
        assert saved
        assert not addresses(saved) & (addresses([*inside, *parameters]) - addresses(border))
        sizes[depth] = sum(tensor.numel() for tensor in saved)
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True) and len(set(sizes.values())) >= 4
