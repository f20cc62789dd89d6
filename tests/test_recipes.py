"""The recipes against the tables that the papers print."""

from typing import Any

import pytest

from spfde_exp.config import compose, flatten
from spfde_exp.options import folder
from spfde_exp.plan import make_plan

# SpFDE appendix, Table A3. Rows: training epochs, batch size, scheduler, initial and ending learning rate, momentum,
# l2, warm-up epochs; epochs of structure search, interval, epoch at which 0.05 becomes 0.025.
A3 = {
    ("cifar10", "cifar100"): (160, 32, "cosine", 0.15, 4e-8, 0.9, 1e-4, 0, 120, 5, 90),
    ("imagenet",): (150, 1024, "cosine", 1.024, 0, 0.875, 3.05e-5, 8, 120, 2, 90),
}
# MEST appendix, Table G.1: the same rows, and the importance coefficient. Its VGG-19 column differs from ResNet-32's in
# two values, which are not part of a recipe.
G1 = {
    ("mest_cifar10", "mest_cifar100"): (160, 64, "cosine", 0.1, 4e-8, 0.9, 1e-4, 0, 130, 5, 100, 0.01),
    ("mest_imagenet",): (150, 2048, "cosine", 2.048, 0, 0.875, 3.05e-5, 8, 120, 2, 90, 0.001),
}
G1_VGG = (160, 64, "cosine", 0.1, 4e-8, 0.9, 5e-4, 5, 130, 5, 100, 0.01)
VGG = ["model=vgg19", "optim.weight_decay=5e-4", "optim.warmup_epochs=5"]

KEYS = [
    "epochs", "optim.batch_size", "optim.schedule", "optim.lr", "optim.end_lr", "optim.momentum", "optim.weight_decay",
    "optim.warmup_epochs", "dst.stop", "dst.every",
]  # fmt: skip


def printed(overrides: list[str]) -> tuple[Any, ...]:
    config = compose([*overrides, "freeze=none"])
    values = flatten(vars(config) | {"optim": vars(config.optim), "dst": vars(config.dst)})
    (milestone,) = config.dst.milestones
    return (*(values[key] for key in KEYS), milestone)


@pytest.mark.parametrize(("recipe", "row"), [(name, row) for names, row in A3.items() for name in names])
def test_table_a3(recipe: str, row: tuple[Any, ...]) -> None:
    assert printed([f"recipe={recipe}"]) == row


@pytest.mark.parametrize(("recipe", "row"), [(name, row) for names, row in G1.items() for name in names])
@pytest.mark.parametrize("method", ["mest", "mest_em", "mest_ems"])
def test_table_g1(recipe: str, row: tuple[Any, ...], method: str) -> None:
    overrides = [f"recipe={recipe}", f"method={method}"]
    assert (*printed(overrides), compose(overrides).method.importance_lambda) == row


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_table_g1_for_vgg(data: str) -> None:
    overrides = [f"recipe=mest_{data}", *VGG]
    assert (*printed(overrides), compose(overrides).method.importance_lambda) == G1_VGG
    assert (compose(overrides).model.name, compose(overrides).dataset.name) == ("vgg19", data)


@pytest.mark.parametrize("recipe", ["imagenet", "mest_imagenet"])
@pytest.mark.parametrize("method", ["mest_em", "mest_ems"])
def test_the_papers_importance_coefficient_on_imagenet(recipe: str, method: str) -> None:
    assert compose([f"recipe={recipe}", f"method={method}"]).method.importance_lambda == 0.001
    assert (
        compose([f"recipe={recipe}", f"method={method}", "method.importance_lambda=0.1"]).method.importance_lambda
        == 0.1
    )


@pytest.mark.parametrize("method", ["dense", "static", "set", "rigl", "snip"])
def test_methods_without_one_do_not_get_it(method: str) -> None:
    assert compose(["recipe=mest_imagenet", f"method={method}"]).method.importance_lambda == 0


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_settings_of_grasp(data: str) -> None:
    """configs/*/resnet32/GraSP_90.json and the training loop of the authors' code."""
    config = compose([f"recipe=grasp_{data}", "method=static"])
    optim = config.optim
    assert (config.model.name, config.model.width, config.dataset.name) == ("resnet32", 2, data)
    assert (config.epochs, optim.batch_size, optim.lr, optim.momentum, optim.nesterov) == (160, 128, 0.1, 0.9, False)
    assert (optim.schedule, optim.steps, optim.weight_decay) == ("step", [0.5, 0.75], 1e-4)
    assert (optim.warmup_epochs, optim.label_smoothing) == (0, 0)


MODELS = {"cifar": ("resnet32", 2), "imagenet": ("resnet50", 1)}


@pytest.mark.parametrize("recipe", [name for table in (A3, G1) for names in table for name in names])
def test_networks_and_data(recipe: str) -> None:
    config = compose([f"recipe={recipe}"])
    data = recipe.removeprefix("mest_")
    assert config.dataset.name == data
    assert (config.model.name, config.model.width) == MODELS[data.rstrip("01")]
    assert config.optim.label_smoothing == 0  # neither paper tells of any


@pytest.mark.parametrize(
    ("recipe", "effort", "epochs", "milestones", "stop", "warmup"),
    [
        ("mest_imagenet", 0.5, 75, [46], 60, 4),  # 45 is no multiple of the interval
        ("mest_imagenet", 0.667, 100, [60], 80, 5),  # 5.3
        ("mest_imagenet", 1.667, 250, [150], 200, 13),  # 13.3
        ("imagenet", 1.667, 250, [150], 200, 13),
        ("mest_cifar10", 0.5, 80, [50], 65, 0),
        ("mest_cifar100", 1.7, 272, [170], 220, 0),  # 221
        ("grasp_cifar10", 0.5, 80, [45], 60, 0),
    ],
)
def test_effort_scales_everything_that_is_counted_in_epochs(
    recipe: str, effort: float, epochs: int, milestones: list[int], stop: int, warmup: int
) -> None:
    config = compose([f"recipe={recipe}", f"effort={effort}", "freeze=none"])
    assert (config.epochs, config.dst.milestones, config.dst.stop) == (epochs, milestones, stop)
    assert config.optim.warmup_epochs == warmup
    assert config.optim.steps == ([0.5, 0.75] if recipe.startswith("grasp") else [])


def recipes() -> list[str]:
    return sorted(path.stem for path in (folder("conf") / "recipe").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_can_be_planned(recipe: str) -> None:
    plan = make_plan(compose([f"recipe={recipe}"]))
    assert plan.prediction()["flops_reduction_freeze"] == pytest.approx(0.15, abs=0.005)
    assert plan.prediction()["sparsity"] == pytest.approx(0.9, abs=0.001)


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_can_be_tried_in_seconds(recipe: str) -> None:
    config = compose([f"recipe={recipe}", "debug=tiny", "freeze=none"])
    assert config.epochs == 8 and config.optim.warmup_epochs < 8
