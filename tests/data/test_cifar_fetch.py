"""Fetching: once, whole or not at all, and one clear line when it fails. The download itself is replaced."""

import hashlib
import pickle
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets import CIFAR100
from torchvision.datasets import cifar as torchvision_cifar

from spfde_exp.data import load
from spfde_exp.errors import UserError

FOLDER = "cifar-100-python"


def pickled(n: int, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    return pickle.dumps({"data": pixels, "fine_labels": [i % 100 for i in range(n)]})


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Files of a tiny CIFAR-100, which torchvision's integrity check takes for the real one."""
    files = {
        "train": pickled(200, 0),
        "test": pickled(100, 1),
        "meta": pickle.dumps({"fine_label_names": []}),
    }
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5["meta"]})
    return files


def write(root: str | Path, files: dict[str, bytes]) -> None:
    folder = Path(root) / FOLDER
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def replace_download(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    monkeypatch.setattr(torchvision_cifar, "download_and_extract_archive", download)


def no_network(*_: Any, **__: Any) -> None:
    raise URLError("no route to host")


def test_fetched_whole_with_nothing_else_left(
    tmp_path: Path, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "deep" / "data"
    timeouts: list[float | None] = []

    def download(url: str, place: Path, **_: Any) -> None:
        timeouts.append(socket.getdefaulttimeout())
        assert Path(place).parent == root and place != root  # beside the final place
        write(place, tiny)
        (Path(place) / "archive.tar.gz").write_bytes(b"")

    replace_download(monkeypatch, download)
    before = socket.getdefaulttimeout()
    data = load("cifar100", root)
    assert (len(data.train_y), len(data.test_y)) == (200, 100)
    first_row = pickle.loads(tiny["train"])["data"][0]  # CHW, as the file has it
    assert data.train_x[0].flatten().tolist() == first_row.tolist()
    assert [path.name for path in root.iterdir()] == [FOLDER]
    assert timeouts == [20.0] and socket.getdefaulttimeout() == before
    replace_download(monkeypatch, no_network)
    assert load("cifar100", root).checksum == data.checksum


def test_many_at_once_download_once(tmp_path: Path, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    others_wait = threading.Event()

    def download(url: str, place: Path, **_: Any) -> None:
        calls.append(1)
        others_wait.wait(0.3)
        write(place, tiny)

    replace_download(monkeypatch, download)
    sums: list[str] = []
    threads = [
        threading.Thread(target=lambda: sums.append(load("cifar100", tmp_path / "data").checksum)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(sums) == 5 and len(set(sums)) == 1
    assert len(calls) == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FOLDER]


def test_many_at_once_fail_and_leave_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_download(monkeypatch, no_network)
    errors: list[UserError] = []

    def attempt() -> None:
        try:
            load("cifar100", tmp_path / "data")
        except UserError as error:
            errors.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(errors) == 5
    assert all("no route to host" in str(error) for error in errors)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def half_written(url: str, place: Path, **_: Any) -> None:
    write(place, {"train": b"half"})
    raise ConnectionResetError(104, "Connection reset by peer")


def wrong_files(url: str, place: Path, **_: Any) -> None:
    write(place, {"train": b"an error page", "test": b"", "meta": b""})


@pytest.mark.parametrize(
    ("download", "reason"),
    [
        (no_network, "(no route to host)"),
        (half_written, "([Errno 104] Connection reset by peer)"),
        (wrong_files, "corrupted"),
    ],
)
@pytest.mark.parametrize("existing", [True, False])
def test_failed_download_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: Any, reason: str, existing: bool
) -> None:
    replace_download(monkeypatch, download)
    root = tmp_path / "deep" / "data"
    if existing:
        root.mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        load("cifar100", root)
    message = str(caught.value)
    assert "\n" not in message and reason in message
    assert str(root / FOLDER) in message and "train, test, meta" in message
    assert "python -m spfde_exp.data cifar100 --to DIR" in message and "dataset.root=DIR" in message
    assert list(tmp_path.rglob("*")) == ([tmp_path / "deep", root] if existing else [])


def test_leftovers_of_a_killed_process_are_cleared(
    tmp_path: Path, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / ".cifar100.partial-1", {"train": b"half"})
    (tmp_path / ".cifar100.lock").touch()
    replace_download(monkeypatch, lambda url, place, **_: write(place, tiny))
    load("cifar100", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


@pytest.mark.parametrize("damage", ["changed", "missing", "no labels' names"])
def test_damaged_folder_is_told_and_kept(
    tmp_path: Path, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    files = dict(tiny)
    if damage == "changed":
        files["train"] = files["train"][:-1] + b"x"
    else:
        del files["test" if damage == "missing" else "meta"]
    write(tmp_path, files)
    replace_download(monkeypatch, lambda url, place, **_: write(place, tiny))
    with pytest.raises(UserError) as caught:
        load("cifar100", tmp_path)
    assert "\n" not in str(caught.value)
    assert f"{tmp_path / FOLDER} is incomplete or corrupted" in str(caught.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()} == files


def test_root_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_download(monkeypatch, no_network)
    (tmp_path / "data").write_text("mine")
    with pytest.raises(UserError, match="File exists"):
        load("cifar10", tmp_path / "data")
    assert (tmp_path / "data").read_text() == "mine"
