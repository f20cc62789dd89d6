"""What is trained on: data sets as uint8 tensors, balanced subsets, augmentation and batches on the device.

scikit-learn and torchvision are imported only when one of their sets is loaded.
"""

from .augment import Augment, Draws
from .dataset import Dataset
from .loader import Batches
from .sources import NAMES, load
from .subset import balanced_indices

__all__ = ["NAMES", "Augment", "Batches", "Dataset", "Draws", "balanced_indices", "load"]
