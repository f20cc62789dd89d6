"""Convolution, batch norm, residual and ReLU in one: as the two steps of the engine, and as PyTorch's."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from spfde_exp.engine import unit_plan
from spfde_exp.engine.kernels import Floats
from spfde_exp.engine.layers import SparseConv, SparseNorm, SparseUnit
from spfde_exp.engine.layout import border_of, to_layout
from spfde_exp.engine.structure import Structure
from spfde_exp.engine.unit import Norm, Pending, conv_norm, conv_pending
from spfde_exp.train.device import exact


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


class Case:
    """Tensors of one shape, made anew by `leaves`."""

    def __init__(self, n: int, inputs: int, outputs: int, h: int, w: int, kernel: int, density: float) -> None:
        self.sizes = n, inputs, outputs, h, w, kernel
        self.kept = torch.rand(outputs, inputs, kernel, kernel, generator=torch.Generator().manual_seed(9)) < density
        self.structure = Structure(self.kept)

    def leaves(self, dtype: torch.dtype, add: bool, channels_last: bool = False) -> dict[str, Tensor]:
        n, inputs, outputs, h, w, _ = self.sizes
        shapes = {"x": (n, inputs, h, w), "weight": self.kept.shape, "scale": (outputs,), "bias": (outputs,)}
        if add:
            shapes["residual"] = (n, outputs, h, w)
        found = {name: drawn(*shape, seed=i, dtype=dtype) for i, (name, shape) in enumerate(shapes.items())}
        if channels_last:
            found["weight"] = found["weight"].to(memory_format=torch.channels_last)
        return {name: tensor.requires_grad_() for name, tensor in found.items()}

    def running(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        outputs = self.sizes[2]
        return drawn(outputs, seed=7, dtype=dtype), drawn(outputs, seed=8, dtype=dtype).square() + 0.5

    def ours(self, leaves: dict[str, Tensor], running: tuple[Tensor, Tensor], training: bool, relu: bool) -> Tensor:
        norm = Norm(leaves["scale"], leaves["bias"], *running)
        x, weight, residual = leaves["x"], leaves["weight"], leaves.get("residual")
        (y,) = conv_norm(x, weight, self.structure, norm, training=training, residual=residual, relu=relu)
        return y

    def torchs(self, leaves: dict[str, Tensor], running: tuple[Tensor, Tensor], training: bool, relu: bool) -> Tensor:
        z = F.conv2d(leaves["x"], leaves["weight"] * self.kept, padding=self.sizes[-1] // 2)
        y = F.batch_norm(z, *running, leaves["scale"], leaves["bias"], training)
        y = y + leaves["residual"] if "residual" in leaves else y
        return F.relu(y) if relu else y


@given(
    n=st.integers(1, 9), inputs=st.integers(1, 9), outputs=st.integers(1, 18), h=st.integers(1, 6), w=st.integers(2, 6),
    kernel=st.sampled_from([1, 3, 5]), density=st.sampled_from([0.0, 0.1, 0.5, 1.0]), training=st.booleans(),
    relu=st.booleans(), add=st.booleans(), channels_last=st.booleans(),
    resting=st.sets(st.sampled_from(["x", "weight", "residual"])),
)  # fmt: skip
def test_it_is_what_pytorch_computes(
    n: int, inputs: int, outputs: int, h: int, w: int, kernel: int, density: float, training: bool, relu: bool,
    add: bool, channels_last: bool, resting: set[str],
) -> None:  # fmt: skip
    """Output, running statistics and all gradients that are asked for, masked weights' being zero."""
    case = Case(n, inputs, outputs, h, w, kernel, density)
    results = []
    for compute in (case.ours, case.torchs):
        leaves, running = case.leaves(torch.float64, add, channels_last), case.running(torch.float64)
        for name in resting & leaves.keys():
            leaves[name].requires_grad_(False)
        y = compute(leaves, running, training, relu)
        wanted = [leaf for leaf in leaves.values() if leaf.requires_grad]
        gradients = torch.autograd.grad(y, wanted, drawn(*y.shape, seed=5))
        results.append([y, *running, *gradients])
    assert border_of(results[0][0]) == 1
    for own, other in zip(*results, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_by_finite_differences(training: bool) -> None:
    case = Case(3, 2, 3, 3, 4, 3, 0.4)
    names = ("x", "weight", "scale", "bias", "residual")
    leaves = case.leaves(torch.float64, add=True)

    def compute(*tensors: Tensor) -> Tensor:
        own = dict(zip(names, tensors, strict=True))
        own["weight"] = own["weight"] * case.kept  # masked weights are not read
        return case.ours(own, case.running(torch.float64), training, relu=False)

    assert torch.autograd.gradcheck(compute, tuple(leaves[name] for name in names), fast_mode=True)


def test_float32_in_a_chain_without_copies() -> None:
    """Three of them, each reading what the one before wrote: the same tensors all the way."""
    case = Case(8, 16, 16, 7, 7, 3, 0.2)
    results = []
    for compute in (case.ours, case.torchs):
        leaves = case.leaves(torch.float32, add=False)
        y = leaves["x"]
        for _ in range(3):
            y = compute({**leaves, "x": y}, case.running(torch.float32), True, True)
        results.append([y, *torch.autograd.grad(y.square().mean(), list(leaves.values()))])
    for own, other in zip(*results, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("needs", ["all", "x", "weight"])
@pytest.mark.parametrize("sizes", [(16, 19, 33, 5, 7), (32, 19, 33, 9, 9), (5, 3, 2, 1, 2)])
def test_the_same_bits_with_more_threads(sizes: tuple[int, int, int, int, int], needs: str) -> None:
    """Rows and channels are shared out, also where there are fewer than threads."""
    case, results = Case(*sizes, 3, 0.2), []
    for threads in (1, 3, 64):
        with exact(threads, "fp32"):
            leaves, running = case.leaves(torch.float32, add=True), case.running(torch.float32)
            for name in ("x", "weight"):
                leaves[name].requires_grad_(needs in ("all", name))
            y = case.ours(leaves, running, training=True, relu=True)
            wanted = [leaf for leaf in leaves.values() if leaf.requires_grad]
            results.append([y, *running, *torch.autograd.grad(y.square().sum(), wanted)])
    assert all(map(torch.equal, results[0], results[1]))
    assert all(map(torch.equal, results[0], results[2]))


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("used", [(True, True), (True, False), (False, True)])
def test_two_readers_send_back_the_sum_of_their_gradients(used: tuple[bool, bool], add: bool, relu: bool) -> None:
    """As one that both of them read; one of them may send back nothing."""
    case = Case(5, 3, 4, 4, 6, 3, 0.5)
    results = []
    for readers in (2, 1):
        leaves, running = case.leaves(torch.float64, add), case.running(torch.float64)
        norm = Norm(leaves["scale"], leaves["bias"], *running)
        made = conv_norm(
            leaves["x"], leaves["weight"], case.structure, norm, training=True, residual=leaves.get("residual"),
            relu=relu, readers=readers,
        )  # fmt: skip
        one, other = made * (3 - readers)
        assert torch.equal(one, other) and one.data_ptr() == other.data_ptr()
        losses = (one * drawn(*one.shape, seed=1)).sum(), (other * drawn(*one.shape, seed=2)).square().sum()
        loss = sum(loss for loss, is_used in zip(losses, used, strict=True) if is_used)
        results.append(torch.autograd.grad(loss, list(leaves.values())))
    for own, theirs in zip(*results, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-10, atol=1e-12)


@given(
    n=st.sampled_from([1, 3, 16, 33]), channels=st.tuples(*[st.integers(1, 19)] * 3), h=st.integers(1, 6),
    w=st.integers(2, 6), kernels=st.tuples(*[st.sampled_from([1, 3, 5])] * 2),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]), training=st.booleans(), relu=st.booleans(),
    resting=st.sets(st.sampled_from(["x", "first", "weight"])), threads=st.sampled_from([1, 3]),
)  # fmt: skip
def test_what_is_left_to_the_next_changes_no_bit(
    n: int, channels: tuple[int, int, int], h: int, w: int, kernels: tuple[int, int], density: float, training: bool,
    relu: bool, resting: set[str], threads: int,
) -> None:  # fmt: skip
    """Two of them, of which the second makes what the first one's batch norm would have, forward and back.

    Without gradients of the input, of what the first one trains, or of the second weight.
    """
    inputs, between, outputs = channels
    first, second = (
        Case(n, inputs, between, h, w, kernels[0], density),
        Case(n, between, outputs, h, w, kernels[1], density),
    )
    results = []
    for pending in (False, True):
        with exact(threads, "fp32"):
            one, other = first.leaves(torch.float32, add=False), second.leaves(torch.float32, add=True)
            for name, leaf in one.items():
                leaf.requires_grad_(("x" if name == "x" else "first") not in resting)
            other["weight"].requires_grad_("weight" not in resting)
            norms = [Norm(leaves["scale"], leaves["bias"], *case.running(torch.float32))
                     for leaves, case in ((one, first), (other, second))]  # fmt: skip
            before = None
            given_first = one["x"], one["weight"], first.structure, norms[0]
            if pending:
                x, before = conv_pending(*given_first, training=training, relu=relu)
            else:
                (x,) = conv_norm(*given_first, training=training, relu=relu, border=kernels[1] // 2)
            (y,) = conv_norm(
                x, other["weight"], second.structure, norms[1], training=training, residual=other["residual"],
                relu=True, before=before,
            )  # fmt: skip
            wanted = [leaf for leaf in (*one.values(), *list(other.values())[1:]) if leaf.requires_grad]
            gradients = torch.autograd.grad(y, wanted, drawn(*y.shape, seed=5, dtype=torch.float32))
            results.append([y, *gradients, *(running for norm in norms for running in norm[2:4])])
    for own, other in zip(*results, strict=True):
        assert torch.equal(own, other)


@given(
    n=st.sampled_from([1, 3, 16, 33]), channels=st.tuples(*[st.integers(1, 19)] * 3), h=st.integers(1, 6),
    w=st.integers(2, 6), kernels=st.tuples(*[st.sampled_from([1, 3, 5])] * 3),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]), training=st.booleans(), add=st.booleans(),
    used=st.sampled_from([(True, True), (True, False), (False, True)]), project=st.booleans(),
    resting=st.sets(st.sampled_from(["first", "second", "all before"])), threads=st.sampled_from([1, 3]),
)  # fmt: skip
@example(
    n=3, channels=(1, 19, 35), h=4, w=5, kernels=(1, 5, 3), density=1.0, training=True, add=True, used=(True, True),
    project=False, resting=set(), threads=1,
)  # fmt: skip
def test_what_goes_by_the_next_changes_no_bit(
    n: int, channels: tuple[int, int, int], h: int, w: int, kernels: tuple[int, int, int], density: float,
    training: bool, add: bool, used: tuple[bool, bool], project: bool, resting: set[str], threads: int,
) -> None:  # fmt: skip
    """A residual around the second and the third of three, by two results of the first, and by way of the second.

    Where the third one's result is used, its residual, or both; with a convolution of the residual or none; without
    gradients of the first or the second weight, or of anything of the first. The example has so many weights that the
    second's gradient is made in several slabs.
    """
    inputs, outer, inner = channels
    shapes = (inputs, outer), (outer, inner), (inner, outer), (outer, outer)
    cases = [Case(n, *shape, h, w, kernel, density) for shape, kernel in zip(shapes, (*kernels, 3), strict=True)]
    results = []
    for by_the_second in (False, True):
        with exact(threads, "fp32"):
            tensors = [case.leaves(torch.float32, add=add and case is cases[0]) for case in cases]
            for name, leaves in zip(("first", "second"), tensors, strict=False):
                leaves["weight"].requires_grad_(name not in resting)
            for leaf in tensors[0].values() if "all before" in resting else ():
                leaf.requires_grad_(False)
            units = [(t["weight"], case.structure, Norm(t["scale"], t["bias"], *case.running(torch.float32)))
                     for t, case in zip(tensors, cases, strict=True)]  # fmt: skip
            made = conv_norm(
                tensors[0]["x"], *units[0], training=training, residual=tensors[0].get("residual"), relu=True,
                border=kernels[1] // 2, readers=1 if by_the_second else 2, opened=by_the_second,
            )  # fmt: skip
            z, before, *other = conv_pending(made[0], *units[1], training=training, relu=True, through=by_the_second)
            (residual,) = other or made[1:]
            assert torch.equal(residual, made[0]) and residual.data_ptr() == made[0].data_ptr()
            assert residual.requires_grad == made[0].requires_grad
            kept = residual if used[1] else None
            if project and kept is not None:
                kept = conv_norm(kept, *units[3], training=training)[0]
            y = conv_norm(z, *units[2], training=training, residual=kept, before=before)[0] if used[0] else residual
            wanted = [leaf for t in tensors for leaf in t.values() if leaf.requires_grad]
            gradients: tuple[Tensor | None, ...] = ()
            if y.requires_grad:
                loss = (y * drawn(*y.shape, seed=5, dtype=torch.float32)).sum()
                gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
            results.append([y, *gradients])
    for own, other in zip(*results, strict=True):
        assert (own is None and other is None) or torch.equal(own, other)


def two_in_a_row(cases: tuple[Case, Case], hook: Callable[[Tensor], Tensor] | None = None) -> list[Tensor]:
    """The result of two, of which the first leaves something to the second, and all gradients; the first one's last.

    Args:
        hook: is given the gradient of the first one's result on its way back.
    """
    leaves = [case.leaves(torch.float32, add=i == 1) for i, case in enumerate(cases)]
    norms = [Norm(t["scale"], t["bias"], *case.running(torch.float32)) for t, case in zip(leaves, cases, strict=True)]
    x, before = conv_pending(
        leaves[0]["x"], leaves[0]["weight"], cases[0].structure, norms[0], training=True, relu=True
    )
    if hook is not None:
        x.register_hook(hook)
    (y,) = conv_norm(
        x, leaves[1]["weight"], cases[1].structure, norms[1], training=True, residual=leaves[1]["residual"], relu=True,
        before=before,
    )  # fmt: skip
    wanted = [*list(leaves[1].values())[1:], *leaves[0].values()]
    return [y, *torch.autograd.grad(y, wanted, drawn(*y.shape, seed=5, dtype=torch.float32))]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("sizes", [(64, 7, 6), (128, 9, 9)])
def test_a_ring_of_lines_changes_no_bit(
    sizes: tuple[int, int, int], kernel: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against all lines of the gradient at once. In the ring they are so many that several, or one, are worked on."""
    n, h, w = sizes
    results = []
    for whole in (unit_plan.WHOLE, 0):
        monkeypatch.setattr(unit_plan, "WHOLE", whole)
        cases = Case(n, 5, 17, h, w, kernel, 0.4), Case(n, 17, 18, h, w, kernel, 0.4)
        with exact(threads, "fp32"):
            results.append(two_in_a_row(cases))
        offsets = [len(plan.back_rows.offsets) for case in cases for plan in case.structure.plans.values()]
        assert offsets == ([1, 1] if whole else [max(1, 1024 // (w * n)) + kernel - 1] * 2)
    assert all(map(torch.equal, *results))


def test_no_line_of_the_ring_is_read_before_it_is_written() -> None:
    """Memory that is not what it last was: elsewhere in this file, freed memory comes back as it went."""
    rings = f"{__file__}::test_a_ring_of_lines_changes_no_bit"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", rings]
    ran = subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": "165"}, capture_output=True, text=True)
    assert ran.returncode == 0 and "12 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize("hook", [lambda grad: grad.mul_(2), lambda grad: grad * 2, None])
def test_a_gradient_that_is_changed_on_its_way_has_other_sums(hook: Callable[[Tensor], Tensor] | None) -> None:
    """What the second one has found out about it is not that of the double gradient, in the same memory or not."""
    cases = Case(5, 3, 4, 4, 6, 3, 0.5), Case(5, 4, 6, 4, 6, 3, 0.5)
    plain, changed = two_in_a_row(cases), two_in_a_row(cases, hook)
    behind = len(changed) - 4
    assert all(map(torch.equal, plain[:behind], changed[:behind]))
    for own, other in zip(changed[behind:], plain[behind:], strict=True):
        assert torch.equal(own, other * (1 if hook is None else 2))


def test_sums_are_of_one_gradient_and_given_once() -> None:
    pending, sums = Pending(np.zeros((4, 1))), np.ones((2, 3, 1))
    grad, equal, z = (torch.ones(2, 1, 3, 2) for _ in range(3))
    pending.keep_sums(grad, z, sums)
    assert pending.sums_of(grad, z.view_as(z)) is sums and pending.sums_of(grad, z) is None
    pending.keep_sums(grad, z, sums)
    assert pending.sums_of(equal, z) is None and pending.sums_of(grad, z) is None
    pending.keep_sums(grad, z, sums)
    assert pending.sums_of(grad, z + 0) is None
    pending.keep_sums(grad, z, sums)
    grad.add_(1)
    assert pending.sums_of(grad, z) is None
    with torch.inference_mode():
        inferred = torch.ones(2, 1, 3, 2)
        pending.keep_sums(inferred, z, sums)
        assert pending.sums_of(inferred, z) is None


def test_sums_of_the_reader_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autograd hands the first one the very gradient that the second one has made."""
    taken: list[Floats | None] = []
    sums_of = Pending.sums_of

    def spy(pending: Pending, grad: Tensor, z: Tensor) -> Floats | None:
        taken.append(sums_of(pending, grad, z))
        return taken[-1]

    monkeypatch.setattr(Pending, "sums_of", spy)
    two_in_a_row((Case(5, 3, 4, 4, 6, 3, 0.5), Case(5, 4, 6, 4, 6, 3, 0.5)))
    (sums,) = taken
    assert sums is not None and sums.shape == (2, 4, 4)


def test_moments_do_not_cancel() -> None:
    """A channel a thousand times as far from zero as it is wide, in float32."""
    case = Case(16, 1, 1, 9, 5, 1, 1.0)
    leaves = case.leaves(torch.float32, add=False)
    with torch.no_grad():
        leaves["x"].add_(1000)
        leaves["weight"].fill_(1)
    running = torch.zeros(1), torch.ones(1)
    case.ours(leaves, running, True, False)
    x = leaves["x"].detach().double()
    assert running[0].item() == pytest.approx(0.1 * x.mean().item(), rel=1e-6)
    assert running[1].item() == pytest.approx(0.9 + 0.1 * x.var().item(), rel=1e-5)


def test_masked_weights_may_hold_anything() -> None:
    case = Case(4, 3, 5, 4, 4, 3, 0.3)
    leaves = case.leaves(torch.float64, add=False)
    plain = case.ours(leaves, case.running(torch.float64), True, True)
    with torch.no_grad():
        leaves["weight"][~case.kept] = torch.nan
    assert torch.equal(case.ours(leaves, case.running(torch.float64), True, True), plain)


def test_what_the_kernels_could_not_read_is_refused() -> None:
    case = Case(4, 3, 5, 4, 4, 3, 0.3)
    leaves, running = case.leaves(torch.float64, add=True), case.running(torch.float64)
    for wrong, message in (
        ({"residual": drawn(1, 5, 1, 1, seed=0)}, "the residual"),
        ({"scale": drawn(5, seed=0, dtype=torch.float32)}, "batch norm is to be"),
        ({"bias": drawn(10, seed=0)[::2]}, "batch norm is to be"),
        ({"weight": drawn(5, 3, 1, 1, seed=0)}, "the structure is of a weight"),
        ({"x": drawn(4, 3, 4, 4, seed=0, dtype=torch.float32)}, "float32 or float64"),
        ({"x": drawn(1, 3, 1, 1, seed=0)}, "more than 1 value per channel"),
    ):
        with pytest.raises(ValueError, match=message):
            case.ours({**leaves, **wrong}, running, True, True)


def test_what_is_left_to_do_is_refused_for_another_input() -> None:
    """Of other channels, of another type, or of an input with a border."""
    case = Case(4, 3, 5, 4, 4, 3, 0.3)
    leaves = case.leaves(torch.float64, add=False)
    norm = Norm(leaves["scale"], leaves["bias"], *case.running(torch.float64))
    bordered = to_layout(leaves["x"], 1)
    plain = to_layout(leaves["x"])
    for x, before in (
        (plain, np.ones((4, 5))),
        (plain, np.ones((4, 3), np.float32)),
        (plain, np.ones((3, 4)).T[:, ::-1]),
        (bordered, np.ones((4, 3))),
        (leaves["x"], np.ones((4, 3))),
    ):
        with pytest.raises(ValueError, match="not of one `conv_pending`"):
            conv_norm(x, leaves["weight"], case.structure, norm, training=True, before=Pending(before))


@pytest.mark.parametrize("pending", [False, True])
def test_a_residual_that_is_broadcast_is_added(pending: bool) -> None:
    """By the two steps, as the one has no kernel for it, whoever makes what the second one reads."""
    convs = [nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(2)]
    norms = [nn.BatchNorm2d(3) for _ in range(2)]
    structure = Structure(torch.ones(3, 3, 3, 3, dtype=torch.bool))
    first, second = (
        SparseUnit(SparseConv(conv, lambda: structure), SparseNorm(copy.deepcopy(norm), True, 1))
        for conv, norm in zip(convs, norms, strict=True)
    )
    x, residual = (drawn(*shape, seed=3, dtype=torch.float32) for shape in ((4, 3, 6, 6), (3, 1, 1)))
    expected = F.relu(norms[1](convs[1](F.relu(norms[0](convs[0](x))))) + residual)
    if pending:
        first.leave_to(second)
        middle, before = first(x)
        assert before is not None
        result = second(middle, residual, before)
    else:
        result = second(first(x), residual)
    torch.testing.assert_close(result, expected)
    weights = [conv.weight for conv in convs]
    for own, other in zip(*(torch.autograd.grad(y.square().sum(), weights) for y in (result, expected)), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-3)
