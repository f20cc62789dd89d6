"""MEST Table G.1: hyper-parameters, as the recipes resolve; VGG-19's are those of Table H.1's runs."""

from analysis.layout import Definition
from analysis.settings import settings
from spfde_exp.launch.sweepfile import load_sweep

VGG = tuple(
    f"{key}={value}"
    for key, value in (load_sweep("MH1").base | load_sweep("MH1").cells[0]).items()
    if key.split(".")[0] in ("model", "optim")
)
COLUMNS = {
    "VGG-19 on CIFAR-10": ("recipe=mest_cifar10", *VGG),
    "VGG-19 on CIFAR-100": ("recipe=mest_cifar100", *VGG),
    "ResNet-32 on CIFAR-10": ("recipe=mest_cifar10",),
    "ResNet-32 on CIFAR-100": ("recipe=mest_cifar100",),
    "ResNet-50 on ImageNet": ("recipe=mest_imagenet",),
}

TABLE = Definition(id="MG1", source="MEST Table G.1", arrange=settings("MG1", COLUMNS, corner="Experiments"))
