"""What is trained on: data sets as uint8 tensors or in files, balanced subsets, augmentation, batches on the device.

Names are imported on first use, so that `specs` stays free of torch; scikit-learn and torchvision only when
one of their sets is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .augment import Augment, Draws
    from .dataset import Dataset
    from .images import ImageSet
    from .loader import Batches, Loader, loader_of
    from .sources import NAMES, load
    from .subset import balanced_indices

__all__ = [
    "NAMES",
    "Augment",
    "Batches",
    "Dataset",
    "Draws",
    "ImageSet",
    "Loader",
    "balanced_indices",
    "load",
    "loader_of",
]

_HOMES = {
    "Augment": "augment",
    "Batches": "loader",
    "Dataset": "dataset",
    "Draws": "augment",
    "ImageSet": "images",
    "Loader": "loader",
    "NAMES": "sources",
    "balanced_indices": "subset",
    "load": "sources",
    "loader_of": "loader",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
