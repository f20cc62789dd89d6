"""What the papers call the settings of a cell. Only resolved values count, so that digits are never called CIFAR."""

from collections.abc import Callable

from analysis.protocol import Spec
from spfde_exp.sparse.methods import METHODS

Name = Callable[[Spec], str]

DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
MODELS = {
    "resnet32": "ResNet-32", "resnet110": "ResNet-110", "mobilenet_v2": "MobileNet-V2", "vgg19": "VGG-19",
    "resnet34": "ResNet-34", "resnet50": "ResNet-50", "resnet50_cifar": "ResNet-50",
}  # fmt: skip
FREEZING = {
    "none": "Non-Freeze", "single_shot": "Single-Shot", "single_shot_resume": "Single-Shot & Resume",
    "periodic": "Periodically", "delayed_periodic": "Delayed Periodically",
}  # fmt: skip


def percent(ratio: float) -> str:
    """0.275 as ``27.5 %``, 0 as ``None`` (as in the papers)."""
    return f"{100 * ratio:.6g} %" if ratio else "None"


def ratio(key: str, label: str = "") -> Name:
    """A key whose value is a ratio, after `label`."""
    return lambda cell: f"{label} {percent(cell.values[key])}".strip()


def sparsity(cell: Spec) -> str:
    """``90 %``, or ``dense``."""
    return percent(cell.values["sparsity.target"]) if METHODS[cell.values["method.name"]].sparse else "dense"


def dataset(cell: Spec) -> str:
    """``CIFAR-100``."""
    return DATASETS.get(cell.values["dataset.name"], str(cell.values["dataset.name"]))


def model(cell: Spec) -> str:
    """``ResNet-32``."""
    return MODELS.get(cell.values["model.name"], str(cell.values["model.name"]))


def freezing(cell: Spec) -> str:
    """``Single-Shot & Resume``."""
    return FREEZING.get(cell.values["freeze.scheme"], str(cell.values["freeze.scheme"]))


def scheme(cell: Spec) -> str:
    """Sparsity scheme and distribution: ``hybrid (explicit)``."""
    name, distribution = str(cell.values["sparsity.scheme"]), str(cell.values["sparsity.distribution"])
    return name if distribution == "uniform" else f"{name} ({distribution})"


def system(cell: Spec) -> str:
    """The method with what is added to it: ``SpFDE 15 % + 15 %``, ``MEST+EM&S+DE, 1.667x``."""
    values = cell.values
    freeze, sieve = values["freeze.target"], values["sieve.ratio"] if values["sieve.mode"] == "circular" else 0
    name = METHODS[values["method.name"]].title
    if values["method.name"] == "mest_ems" and freeze and sieve:
        name = f"SpFDE {percent(freeze)} + {percent(sieve)}"
    else:
        name += f", {percent(freeze)} frozen" if freeze else ""
        name += f", {percent(sieve)} sieved" if sieve else ""
        name += "+DE" if values["sieve.mode"] == "two_phase" else ""
    effort = float(cell.overrides.get("effort", 1))
    return name if effort == 1 else f"{name}, {effort:g}x"


def variant(cell: Spec) -> str:
    """The system, and with MEST's methods the scheme: ``MEST+EM, block``, ``SNIP``."""
    return f"{system(cell)}, {scheme(cell)}" if cell.values["method.name"].startswith("mest") else system(cell)


def scheme_or_system(cell: Spec) -> str:
    """What tells lines apart where one of MEST's methods stands beside other works: ``block``, ``SET``."""
    return scheme(cell) if cell.values["method.name"].startswith("mest") else system(cell)
