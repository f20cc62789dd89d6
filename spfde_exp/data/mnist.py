"""MNIST, Fashion-MNIST and KMNIST from torchvision's folder layout, downloaded once where there is a network.

Means and standard deviations are those of the training pixels / 255.
"""

from pathlib import Path
from typing import NamedTuple

from .dataset import Dataset, Pixels, checksum
from .fetch import damaged, read_or_fetch
from .specs import source_of


class _Facts(NamedTuple):
    class_name: str  # in torchvision.datasets, and of the folder
    mean: float
    std: float


_FACTS = {
    "mnist": _Facts("MNIST", 0.1307, 0.3081),
    "fashion_mnist": _Facts("FashionMNIST", 0.2860, 0.3530),
    "kmnist": _Facts("KMNIST", 0.1918, 0.3483),
}


def pixels(name: str) -> Pixels:
    """What is done to the pixels of the set `name`."""
    return Pixels(255.0, (_FACTS[name].mean,), (_FACTS[name].std,))


def read(name: str, root: Path) -> Dataset:
    """60,000 training and 10,000 test images, uint8 [N, 1, 28, 28], from torchvision's folder under `root`.

    An absent folder is downloaded first. Raises UserError if that fails, or if a folder is there but damaged.
    """
    from torchvision import datasets

    facts, spec = _FACTS[name], source_of(name).spec
    assert spec is not None
    source = getattr(datasets, facts.class_name)
    files = [f"raw/{archive.removesuffix('.gz')}" for archive, _ in source.resources]
    train, test = read_or_fetch(name, root, facts.class_name, files, source)
    tensors = (train.data.unsqueeze(1), train.targets, test.data.unsqueeze(1), test.targets)
    sizes = (spec.train, *spec.shape), (spec.train,), (spec.test, *spec.shape), (spec.test,)
    # Torchvision knows the sums of the archives only, not of the files that it unpacks.
    if any(tuple(tensor.shape) != size for tensor, size in zip(tensors, sizes, strict=True)):
        raise damaged(name, root, facts.class_name)
    return Dataset(
        name,
        *tensors,
        num_classes=spec.classes,
        **vars(pixels(name)),
        checksum=checksum(*tensors),
    )
