"""The real sets, where SPFDE_TEST_DATA names the folder that holds them."""

import os
from pathlib import Path

import pytest
import torch

from spfde_exp.data import Dataset, load


def real(name: str, folder: str) -> Dataset:
    root = os.environ.get("SPFDE_TEST_DATA")
    if root is None or not (Path(root) / folder).is_dir():
        pytest.skip(f"SPFDE_TEST_DATA does not name a folder with {folder}")
    return load(name, root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "classes"),
    [("cifar10", "cifar-10-batches-py", 10), ("cifar100", "cifar-100-python", 100)],
)
def test_real_cifar(name: str, folder: str, classes: int) -> None:
    data = real(name, folder)
    assert data.train_x.shape == (50_000, 3, 32, 32) and data.train_x.dtype == torch.uint8
    assert data.test_x.shape == (10_000, 3, 32, 32)
    assert data.num_classes == classes
    assert data.train_y.bincount().tolist() == [50_000 // classes] * classes
    assert data.test_y.bincount().tolist() == [10_000 // classes] * classes
    images = data.train_x.view(50_000, 3, 1024)
    mean = torch.stack([images[:, c].double().mean() / 255 for c in range(3)])
    assert mean.tolist() == pytest.approx(data.mean, abs=3e-4)
    if name == "cifar10":  # the mean of the images' own deviations
        std = torch.stack([images[:, c].float().std(dim=1, correction=0).mean() / 255 for c in range(3)])
    else:
        std = torch.stack([images[:, c].double().std() / 255 for c in range(3)])
    assert std.tolist() == pytest.approx(data.std, abs=5e-4)
