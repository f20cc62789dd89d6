"""Scores against independent computations in double precision: finite differences, a full Hessian, sums over paths."""

from collections.abc import Callable, Iterator
from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spfde_exp.errors import UserError
from spfde_exp.sparse import saliency
from spfde_exp.sparse.saliency import balanced_examples, best, grasp, random_examples, snip, synflow

Batch = tuple[Tensor, Tensor]
LAYERS = ["1", "4", "7"]  # of `net`


def net(seed: int = 0) -> nn.Sequential:
    """Five layers in double precision, with batch norm whose statistics are not those of a fresh one."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.Conv2d(2, 3, 2, bias=False), nn.BatchNorm2d(3), nn.Tanh(),
        nn.Conv2d(3, 4, 1), nn.Softplus(), nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3),
    ).double()  # fmt: skip
    model[2].running_mean.normal_()
    model[2].running_var.uniform_(0.5, 2)
    return model


def batch(seed: int, size: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(size, 1, 4, 4, dtype=torch.float64, generator=draw), torch.arange(size) % 3


def weight(model: nn.Module, layer: str) -> Tensor:
    return model.get_submodule(layer).get_parameter("weight").data


def slope(function: Callable[[], Tensor], values: Tensor, step: float = 1e-5) -> Tensor:
    """Derivative of `function` with respect to a factor on each of `values`, by central differences."""
    flat, found = values.view(-1), []
    for place in range(len(flat)):
        before = float(flat[place])
        sides = []
        for factor in (1 + step, 1 - step):
            flat[place] = before * factor
            sides.append(function().detach())
        flat[place] = before
        found.append((sides[0] - sides[1]) / (2 * step))
    return torch.stack(found).view_as(values)


def shares(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    total = sum(float(score.abs().sum()) for score in scores.values())
    return {layer: score / total for layer, score in scores.items()}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-4) -> None:
    assert found.keys() == expected.keys()
    for layer, score in expected.items():
        torch.testing.assert_close(found[layer].double(), score, rtol=rtol, atol=1e-7)


# -- SNIP


def test_snip_is_what_a_connections_mask_does_to_the_loss() -> None:
    model, (x, y) = net().eval(), batch(1)
    expected = {layer: slope(lambda: F.cross_entropy(model(x), y), weight(model, layer)).abs() for layer in LAYERS}
    assert_close(snip(model, LAYERS, [(x, y)]), shares(expected))


def test_snip_takes_batch_norm_as_it_is_in_evaluation() -> None:
    model, data = net(), [batch(1)]
    training, evaluating = snip(model.train(), LAYERS, data), snip(model.eval(), LAYERS, data)
    assert_close(training, evaluating)
    model[2].running_var.mul_(9)
    assert not torch.allclose(snip(model, LAYERS, data)["1"], evaluating["1"])


# -- GraSP


def flow_loss(model: nn.Module, batches: list[Batch], temperature: float) -> Tensor:
    """Sum over half batches of the loss at a temperature."""
    halves = [half for x, y in batches for half in ((x[:3], y[:3]), (x[3:], y[3:]))]
    return torch.stack([F.cross_entropy(model(x) / temperature, y) for x, y in halves]).sum()


def parts(model: nn.Module) -> dict[str, Tensor]:
    """Weights of every convolution and linear layer."""
    return {name: m.weight for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


@pytest.mark.parametrize(("rounds", "temperature"), [(1, 200.0), (2, 1.0)])
def test_grasp_is_the_hessian_times_the_gradient(rounds: int, temperature: float) -> None:
    """By the whole Hessian, of all weights of all layers, and not only of those that are scored."""
    model, batches = net().train(), [batch(seed) for seed in range(rounds)]
    names = [f"{name}.weight" for name in parts(model)]
    sizes = [w.numel() for w in parts(model).values()]

    def loss(vector: Tensor) -> Tensor:
        tensors = [p.view_as(w) for p, w in zip(vector.split(sizes), parts(model).values(), strict=True)]
        return flow_loss(Functional(model, names, tensors), batches, temperature)

    point = torch.cat([w.detach().flatten() for w in parts(model).values()])
    gradient = torch.autograd.functional.jacobian(loss, point)
    product_ = torch.autograd.functional.hessian(loss, point) @ gradient
    scores = dict(zip(parts(model), (point * product_).split(sizes), strict=True))
    expected = shares({layer: scores[layer].view_as(weight(model, layer)) for layer in LAYERS})
    assert_close(grasp(model, LAYERS, batches, temperature), expected, rtol=1e-3)


class Functional(nn.Module):
    """A model with other weights under some names."""

    def __init__(self, model: nn.Module, names: list[str], tensors: list[Tensor]) -> None:
        super().__init__()
        self.call = lambda x: torch.func.functional_call(model, dict(zip(names, tensors, strict=True)), x)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def test_grasp_keeps_what_the_gradient_flow_would_miss() -> None:
    """A score is, up to a factor, how much |gradient|^2 falls as the weight shrinks: the sign of the paper's eq. 8."""
    model, data = net().train(), [batch(0)]

    def flow() -> Tensor:
        gradients = torch.autograd.grad(flow_loss(model, data, 1.0), list(parts(model).values()))
        return sum((g**2).sum() for g in gradients)

    gain = {layer: slope(flow, weight(model, layer)) for layer in LAYERS}  # of growing weights, so the loss of removal
    assert_close(grasp(model, LAYERS, data, 1.0), shares(gain), rtol=1e-3)


def test_large_batches_are_scored_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without batch norm in training mode, which looks at a batch as a whole, pieces make no difference."""
    model, data = net(), [batch(0, size=50), batch(1, size=7)]
    model[2] = nn.Identity()
    whole = snip(model, LAYERS, data), grasp(model, LAYERS, data, 1.0)
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(saliency, "PIXELS", 16 * 21)  # of 4 x 4 pixels each
    pieces = snip(model, LAYERS, data), grasp(model, LAYERS, data, 1.0)
    assert sizes == [21, 21, 8, 7, *[21, 4, 21, 4, 4, 3] * 2]
    for found, expected in zip(pieces, whole, strict=True):
        assert_close(found, {layer: score.double() for layer, score in expected.items()})
    monkeypatch.setattr(saliency, "PIXELS", 1)
    sizes.clear()
    snip(model, LAYERS, data)
    assert sizes == [20, 20, 10, 7]


# -- SynFlow


def linear(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *layers)


def test_synflow_sums_over_all_paths_through_a_weight() -> None:
    model = linear(4, 3, 3, 2)
    sizes = [4, 3, 3, 2]
    matrices = [model[k].weight.detach().double().abs() for k in (1, 2, 3)]  # [out, in]
    expected = {str(k): torch.zeros_like(matrix) for k, matrix in enumerate(matrices, 1)}
    for path in product(*map(range, sizes)):
        steps = [(after, before) for before, after in pairwise(path)]
        strength = torch.stack([m[step] for m, step in zip(matrices, steps, strict=True)]).prod()
        for k, step in enumerate(steps, 1):
            expected[str(k)][step] += strength
    assert_close(synflow(model, ["1", "2", "3"], (1, 2, 2), 0.5, rounds=1), expected, rtol=1e-12)


@given(widths=st.lists(st.integers(1, 6), min_size=2, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_synflow_is_conserved_from_layer_to_layer(widths: list[int], seed: int) -> None:
    """Theorem 1 of the paper: through ReLU, pooling and convolutions, each layer's scores sum to the output."""
    torch.manual_seed(seed)
    channels = [2, *widths]
    convs = [nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in zip(channels, widths, strict=False)]
    model = nn.Sequential(*(m for conv in convs for m in (conv, nn.ReLU())), nn.AvgPool2d(2), nn.Flatten(),
                          nn.Linear(4 * widths[-1], 3, bias=False))  # fmt: skip
    layers = [name for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    sums = [float(score.sum()) for score in synflow(model, layers, (2, 4, 4), 0.5, rounds=1).values()]
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-9)


def test_synflow_goes_by_rounds() -> None:
    """Before round k the best 0.2^((k - 1) / 3) of 45 weights are left: 45, 26, 15; what is out has no score."""
    model = linear(5, 5, 4, seed=3)
    layers = ["1", "2"]
    assert [int(sum((score >= 0).sum() for score in synflow(model, layers, (1, 1, 5), 0.2, rounds).values()))
            for rounds in (1, 2, 3)] == [45, 20, 15]  # fmt: skip
    first = synflow(model, layers, (1, 1, 5), 0.2, rounds=1)
    left = best(first, round(45 * 0.2 ** (1 / 3)))
    with torch.no_grad():
        pruned = linear(5, 5, 4, seed=3)
        for layer in layers:
            pruned.get_submodule(layer).weight.mul_(left[layer])
    second = best(synflow(pruned, layers, (1, 1, 5), 0.2, rounds=1), round(45 * 0.2 ** (2 / 3)))
    third = synflow(model, layers, (1, 1, 5), 0.2, rounds=3)
    assert all(torch.equal(third[layer] >= 0, second[layer]) for layer in layers)


def test_synflow_keeps_every_layer_alive_where_magnitude_and_snip_do_not() -> None:
    """Ten layers of which one has small weights: 2 % of all are enough for one path, if somebody looks for it."""
    model, x, y = linear(9, *[12] * 9, 4), torch.ones(2, 1, 3, 3), torch.tensor([0, 1])
    layers = [str(k) for k in range(1, 11)]
    with torch.no_grad():
        model[5].weight.mul_(1e-3)
        model[10].weight.mul_(1e3)
    total = sum(weight(model, layer).numel() for layer in layers)
    count = round(0.02 * total)

    def emptied(scores: dict[str, Tensor]) -> list[str]:
        return [layer for layer, mask in best(scores, count).items() if not mask.any()]

    assert emptied(synflow(model, layers, (1, 3, 3), count / total)) == []
    assert emptied({layer: weight(model, layer).abs() for layer in layers})
    assert emptied(snip(model, layers, [(x, y)]))


def test_synflow_of_a_deep_network_does_not_overflow() -> None:
    model = linear(4, *[64] * 40, 4)
    with torch.no_grad():
        for layer in model[1:]:
            layer.weight.fill_(3.0)  # 192^40 is beyond fp32
    scores = synflow(model, ["1", "20", "41"], (1, 2, 2), 0.1, rounds=2)
    assert all(score.isfinite().all() for score in scores.values())


def test_synflow_through_saturated_activations_is_refused() -> None:
    """ReLU6 cuts off the flow of ones through absolute weights, and its derivative is 0 there."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 20), nn.ReLU6(), nn.Linear(20, 20), nn.ReLU6(), nn.Linear(20, 3))
    with torch.no_grad():
        for layer in (1, 3):
            model[layer].weight.fill_(1.0)
    with pytest.raises(UserError, match=r"add up to 0 in round 1 of 100, .*ReLU6.*choose another method") as error:
        synflow(model, ["1", "3"], (1, 3, 3), 0.1)
    assert "\n" not in str(error.value)


# -- all three


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_the_network_and_the_random_numbers_alone(training: bool) -> None:
    model = net().train(training)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = torch.get_rng_state()
    snip(model, LAYERS, [batch(0)])
    grasp(model, LAYERS, [batch(0), batch(1)])
    synflow(model, LAYERS, (1, 4, 4), 0.2, rounds=5)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) and p.requires_grad for p in model.parameters())
    assert all(module.training == training for module in model.modules())


@given(
    shapes=st.lists(st.sampled_from([(3,), (2, 3), (4, 1, 2, 2)]), min_size=1, max_size=4),
    count=st.integers(0, 60),
    ties=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_best_of_all_layers_together(shapes: list[tuple[int, ...]], count: int, ties: bool, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = {str(k): torch.randn(shape, generator=draw) for k, shape in enumerate(shapes)}
    if ties:
        scores = {layer: score.round() for layer, score in scores.items()}
    flat = [float(value) for score in scores.values() for value in score.flatten()]
    chosen = set(sorted(range(len(flat)), key=lambda place: (-flat[place], place))[:count])
    masks = best(scores, count)
    assert [masks[layer].shape for layer in scores] == [score.shape for score in scores.values()]
    assert [bool(kept) for mask in masks.values() for kept in mask.flatten()] == [p in chosen for p in range(len(flat))]


# -- examples


class Numbered:
    """Twenty examples of four classes, whose only pixel is their number; shuffled in batches of three."""

    labels = torch.tensor([0, 0, 0, 1, 3, 2, 2, 1, 1, 0, 3, 3, 3, 2, 1, 0, 0, 1, 2, 3])
    shape = (1, 1, 1)

    def epoch(self, kept: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for part in kept[torch.randperm(len(kept), generator=generator)].split(3):
            yield part.float().view(-1, 1, 1, 1), self.labels[part], part


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_random_examples_are_distinct_and_have_their_labels() -> None:
    images, labels = random_examples(Numbered(), 7, seeded(1))
    numbers = images.flatten().long()
    assert images.shape == (7, 1, 1, 1) and len(set(numbers.tolist())) == 7
    assert torch.equal(Numbered.labels[numbers], labels)
    assert torch.equal(random_examples(Numbered(), 7, seeded(1))[0], images)
    assert len(random_examples(Numbered(), 99, seeded(1))[1]) == 20


def test_balanced_examples_come_class_by_class() -> None:
    images, labels = balanced_examples(Numbered(), 2, seeded(0))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(Numbered.labels[images.flatten().long()], labels)
    firsts = {int(balanced_examples(Numbered(), 2, seeded(seed))[0].flatten()[0]) for seed in range(60)}
    assert firsts == {0, 1, 2, 9, 15, 16}  # any of the class
