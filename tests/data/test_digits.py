"""The embedded set: split, statistics, and the bytes that runs log."""

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from spfde_exp.data import Dataset, load
from spfde_exp.errors import UserError


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", "unused")


def test_sizes_types_and_checksum(digits: Dataset) -> None:
    assert digits.train_x.shape == (1437, 1, 8, 8)
    assert digits.test_x.shape == (360, 1, 8, 8)
    assert digits.train_x.dtype == digits.test_x.dtype == torch.uint8
    assert digits.train_y.dtype == digits.test_y.dtype == torch.int64
    assert digits.val_x is None and digits.val_y is None
    assert digits.checksum == "6a812af8365b27b7ec02d34500f780068c2c6659fd92ac09c86758d8ab34538c"


def test_split_is_stratified(digits: Dataset) -> None:
    whole = torch.bincount(torch.from_numpy(load_digits().target), minlength=10)
    train, test = digits.train_y.bincount(minlength=10), digits.test_y.bincount(minlength=10)
    assert torch.equal(train + test, whole)
    assert torch.all((test - whole * 360 / 1797).abs() < 1)


def test_split_holds_every_image_with_its_label_once(digits: Dataset) -> None:
    source = load_digits()
    expected = sorted(zip(source.images.reshape(-1, 64).astype(int).tolist(), source.target.tolist(), strict=True))
    images = torch.cat([digits.train_x, digits.test_x]).reshape(-1, 64).tolist()
    labels = torch.cat([digits.train_y, digits.test_y]).tolist()
    assert sorted(zip(images, labels, strict=True)) == expected


def test_constants_are_those_of_the_training_pixels(digits: Dataset) -> None:
    pixels = digits.train_x.double() / digits.scale
    assert digits.mean == pytest.approx([pixels.mean().item()], abs=5e-5)
    assert digits.std == pytest.approx([pixels.std(correction=0).item()], abs=5e-5)


def test_moved_set_keeps_its_facts(digits: Dataset) -> None:
    held = load("digits", "unused", val_fraction=0.1)
    moved = held.to("meta")
    tensors = (moved.train_x, moved.train_y, moved.test_x, moved.test_y, moved.val_x, moved.val_y)
    assert all(tensor is not None and tensor.device.type == "meta" for tensor in tensors)
    assert moved.checksum == held.checksum == digits.checksum
    assert digits.to("meta").val_x is None


def test_unknown_set_lists_the_allowed() -> None:
    with pytest.raises(UserError, match="^dataset=svhn is unknown; allowed: digits, .*cifar10, cifar100"):
        load("svhn", "unused")


def test_the_kept_split_is_the_one_of_scikit_learn(digits: Dataset) -> None:
    source = load_digits()
    parts = train_test_split(source.images, source.target, test_size=360, stratify=source.target, random_state=0)
    ours = (digits.train_x[:, 0], digits.test_x[:, 0], digits.train_y, digits.test_y)
    for own, other in zip(ours, parts, strict=True):
        assert torch.equal(own.double(), torch.from_numpy(other).double())


def test_a_scikit_learn_without_the_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spfde_exp.data.digits.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"which has no .*digits\.csv\.gz; install scikit-learn again"):
        load("digits", "unused")
