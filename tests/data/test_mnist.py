"""MNIST and its likes, from idx files written by hand; the download itself is replaced."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision.datasets import mnist as torchvision_mnist

from spfde_exp.config import compose
from spfde_exp.data import Dataset, load
from spfde_exp.data.specs import SOURCES, Source, Spec
from spfde_exp.errors import UserError

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
REAL = {name: SOURCES[name] for name in FOLDERS}
TRAIN, TEST = 20, 10


def idx(*sizes: int, first: int = 0) -> bytes:
    """An idx file of bytes first, first + 1, ... of these sizes: magic number 0x08 and the rank, sizes, values."""
    count = 1
    for size in sizes:
        count *= size
    values = bytes((first + i) % 256 for i in range(count))
    return struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes) + values


def labels(n: int) -> bytes:
    return struct.pack(">HBBI", 0, 8, 1, n) + bytes(i % 10 for i in range(n))


def files() -> dict[str, bytes]:
    return {
        "train-images-idx3-ubyte": idx(TRAIN, 28, 28),
        "train-labels-idx1-ubyte": labels(TRAIN),
        "t10k-images-idx3-ubyte": idx(TEST, 28, 28, first=50),
        "t10k-labels-idx1-ubyte": labels(TEST),
    }


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOLDERS:
        monkeypatch.setitem(SOURCES, name, Source("mnist", Spec(TRAIN, TEST, (1, 28, 28), 10)))


def write(folder: Path, change: Callable[[dict[str, bytes]], object] = lambda _: None) -> None:
    content = files()
    change(content)
    (folder / "raw").mkdir(parents=True)
    for name, data in content.items():
        (folder / "raw" / name).write_bytes(data)


@pytest.mark.parametrize("name", FOLDERS)
def test_files_that_are_there(tmp_path: Path, name: str) -> None:
    write(tmp_path / FOLDERS[name])
    data = load(name, tmp_path)
    assert isinstance(data, Dataset)
    assert data.train_x.shape == (TRAIN, 1, 28, 28) and data.train_x.dtype == torch.uint8
    assert data.train_x[1].flatten().tolist() == [(784 + i) % 256 for i in range(784)]
    assert data.test_x[0, 0, 0, :3].tolist() == [50, 51, 52]
    assert data.train_y.tolist() == [i % 10 for i in range(TRAIN)] and data.train_y.dtype == torch.int64
    assert len(data.test_y) == TEST and data.num_classes == 10 and data.scale == 255
    assert load(name, tmp_path, subset=10).train_y.sort().values.tolist() == list(range(10))


def replace_download(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    monkeypatch.setattr(torchvision_mnist, "download_and_extract_archive", download)


def test_fetched_whole_beside_the_final_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "deep" / "data"

    def download(url: str, download_root: str, filename: str, md5: str) -> None:
        assert Path(download_root).parents[2] == root and Path(download_root).parents[1] != root
        name = filename.removesuffix(".gz")
        (Path(download_root) / filename).write_bytes(gzip.compress(files()[name]))
        (Path(download_root) / name).write_bytes(files()[name])

    replace_download(monkeypatch, download)
    first = load("kmnist", root).checksum
    assert [path.name for path in root.iterdir()] == ["KMNIST"]
    assert len(list((root / "KMNIST" / "raw").iterdir())) == 8
    replace_download(monkeypatch, None)
    assert load("kmnist", root).checksum == first


def test_failed_download_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, download_root: str, filename: str, md5: str) -> None:
        if filename.startswith("t10k"):
            raise URLError("no route to host")
        (Path(download_root) / filename.removesuffix(".gz")).write_bytes(b"half")

    replace_download(monkeypatch, download)
    with pytest.raises(UserError) as error:
        load("mnist", tmp_path / "data")
    message = str(error.value)
    assert "\n" not in message and "no route to host" in message and "raw/t10k-labels-idx1-ubyte" in message
    assert "python -m spfde_exp.data mnist --to DIR" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("t10k-labels-idx1-ubyte"),
        lambda content: content.update({"train-images-idx3-ubyte": idx(TRAIN, 28, 28)[:-100]}),
        lambda content: content.update({"train-images-idx3-ubyte": b""}),
        lambda content: content.update({"train-images-idx3-ubyte": b"<html>an error page</html>"}),
        lambda content: content.update({"train-images-idx3-ubyte": idx(TRAIN - 1, 28, 28)}),
        lambda content: content.update({"t10k-images-idx3-ubyte": idx(TEST, 32, 32)}),
        lambda content: content.update({"t10k-labels-idx1-ubyte": labels(TEST + 1)}),
    ],
    ids=["missing", "truncated", "empty", "no idx file", "too few", "another size", "another count"],
)
def test_damaged_folder_is_told_and_kept(tmp_path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    write(tmp_path / "FashionMNIST", change)
    with pytest.raises(UserError) as error:
        load("fashion_mnist", tmp_path)
    assert f"{tmp_path}/FashionMNIST is incomplete or corrupted" in str(error.value)
    assert "python -m spfde_exp.data fashion_mnist --to" in str(error.value) and "\n" not in str(error.value)
    assert (tmp_path / "FashionMNIST" / "raw").is_dir()


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "MNIST")

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torchvision_mnist, "read_image_file", refuse)
    with pytest.raises(UserError, match="MNIST cannot be read .*Permission denied.*: check its permissions"):
        load("mnist", tmp_path)


def test_planned_in_their_real_sizes() -> None:
    assert {source.spec for source in REAL.values()} == {Spec(60_000, 10_000, (1, 28, 28), 10)}


def test_signs_are_not_mirrored_clothes_are() -> None:
    chosen = {name: compose([f"dataset={name}"]).dataset for name in FOLDERS}
    assert {name: data.flip for name, data in chosen.items()} == {
        "mnist": False,
        "fashion_mnist": True,
        "kmnist": False,
    }
    assert {data.pad for data in chosen.values()} == {2}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_real_pixels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(os.environ.get("SPFDE_TEST_DATA", "nowhere"))
    if not (root / FOLDERS[name]).is_dir():
        pytest.skip(f"SPFDE_TEST_DATA does not name a folder with {FOLDERS[name]}")
    monkeypatch.setitem(SOURCES, name, REAL[name])
    data = load(name, root)
    assert isinstance(data, Dataset)
    pixels = data.train_x.double() / 255
    assert data.mean == pytest.approx([pixels.mean().item()], abs=5e-5)
    assert data.std == pytest.approx([pixels.std(correction=0).item()], abs=5e-5)
