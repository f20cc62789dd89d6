"""scikit-learn's embedded 8x8 handwritten digits: real data that needs no download."""

from pathlib import Path

import torch

from .dataset import Dataset, Pixels, checksum

# Of the training split's pixels / 16; a test recomputes them.
MEAN = (0.3054,)
STD = (0.3761,)


def pixels(name: str) -> Pixels:
    """What is done to its pixels."""
    return Pixels(16.0, MEAN, STD)


def read(name: str, root: Path) -> Dataset:
    """1,437 training and 360 test images, uint8 [N, 1, 8, 8] of values 0 to 16, split once and stratified."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.images, digits.target, test_size=360, stratify=digits.target, random_state=0
    )
    tensors = (
        torch.from_numpy(train_x).to(torch.uint8).unsqueeze(1),
        torch.from_numpy(train_y).to(torch.int64),
        torch.from_numpy(test_x).to(torch.uint8).unsqueeze(1),
        torch.from_numpy(test_y).to(torch.int64),
    )
    return Dataset(name, *tensors, num_classes=10, **vars(pixels(name)), checksum=checksum(*tensors))
