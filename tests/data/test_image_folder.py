"""What a folder of images by class holds, as torchvision's ImageFolder sees it, and what is wrong with others."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from spfde_exp.data import image_folder
from spfde_exp.data.image_folder import Split, scan
from spfde_exp.errors import UserError

RED = (255, 0, 0)


def listed(split: Split) -> list[tuple[str, int]]:
    starts = [0, *split.ends[:-1]]
    names = [split.names[start:end] for start, end in zip(starts, split.ends, strict=True)]
    return [(os.fsdecode(name), label) for name, label in zip(names, split.labels, strict=True)]


def torchvisions(folder: Path) -> list[tuple[str, int]]:
    return [(os.path.relpath(path, folder), label) for path, label in ImageFolder(folder).samples]


def test_real_images_in_torchvisions_order(real_images: Path) -> None:
    found = scan("folder", real_images, "tiny-imagenet-20")
    folder = real_images / "tiny-imagenet-20"
    assert listed(found.train) == torchvisions(folder / "train")
    assert listed(found.test) == torchvisions(folder / "val")
    assert (len(found.train.labels), len(found.test.labels), len(found.classes)) == (2000, 500, 20)
    assert found.checksum == "e48d2895c3fdbe3d97b14726fd13fd5872d1c2b6d6657dcf962c0a2e5ad6409c"


def test_nested_folders_links_endings_and_strange_names(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    names = ["b/2.PNG", "b/10.png", "b/in/x.jpg", "b-c/1.bmp", "b-c/é ü.jpeg", "A/z.webp"]
    make_folder({f"{split}/{name}": RED for split in ("train", "val") for name in names})
    train = tmp_path / "pets" / "train"
    (train / "b" / "notes.txt").write_text("no image")
    (train / "A" / "link.png").symlink_to(train / "b" / "2.PNG")
    expected = torchvisions(train)
    assert len(expected) == 7
    found = scan("folder", tmp_path, "pets")
    assert listed(found.train) == expected
    assert found.classes == ("A", "b", "b-c")


def test_hidden_files_and_folders_are_no_images(pets: Path) -> None:
    before = scan("folder", pets, "pets")
    train = pets / "pets" / "train"
    (train / "cat" / "._0.png").write_bytes(b"of another system")
    (train / "cat" / ".thumbs").mkdir()
    (train / "cat" / ".thumbs" / "0.png").write_bytes(b"small")
    (train / ".cache").mkdir()
    assert scan("folder", pets, "pets") == before


def test_names_that_are_no_text(pets: Path) -> None:
    odd = os.fsencode(pets / "pets" / "train" / "eel") + b"/\xff.png"
    os.link(pets / "pets" / "train" / "eel" / "0.png", odd)
    name, label = listed(scan("folder", pets, "pets").train)[-1]
    assert os.fsencode(name) == b"eel/\xff.png" and label == 2


def test_the_checksum_tells_files_apart_by_name_and_size(pets: Path) -> None:
    def checksum() -> str:
        return scan("folder", pets, "pets").checksum

    first, cat = checksum(), pets / "pets" / "train" / "cat"
    os.utime(cat / "0.png", (0, 0))
    assert checksum() == first
    seen = {first}
    (cat / "0.png").rename(cat / "zero.png")
    seen.add(checksum())
    (cat / "new.png").write_bytes((cat / "1.png").read_bytes())
    seen.add(checksum())
    (cat / "new.png").unlink()
    (cat / "new.png").write_bytes((cat / "1.png").read_bytes() + b" ")
    seen.add(checksum())
    (pets / "pets" / "val" / "cat" / "1.png").unlink()
    seen.add(checksum())
    assert len(seen) == 5


def test_the_place_is_not_part_of_the_checksum(pets: Path) -> None:
    before = scan("folder", pets, "pets").checksum
    (pets / "pets").rename(pets / "moved")
    assert scan("folder", pets, "moved").checksum == before
    assert scan("folder", "/", str(pets / "moved")).checksum == before


def test_it_is_looked_up_once(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scan("folder", pets, "pets")
    monkeypatch.setattr(image_folder, "_split", None)
    assert scan("folder", pets, "pets") is first


def test_tested_is_on_test_where_its_images_have_classes(pets: Path, make_folder: Callable[..., Path]) -> None:
    folder = pets / "pets"
    (folder / "test").mkdir()
    (folder / "test" / "unlabelled.png").write_bytes(b"")
    assert scan("folder", pets, "pets").test.folder == folder / "val"
    make_folder({"test/dog/only.png": RED})
    found = scan("folder", pets, "pets").test
    assert (found.folder, listed(found)) == (folder / "test", [("dog/only.png", 1)])


@pytest.mark.parametrize("place", ["imagenet", "."])
def test_imagenet_lies_in_its_folder_or_in_the_root_itself(pets: Path, place: str) -> None:
    if place == "imagenet":
        (pets / "pets").rename(pets / "imagenet")
        assert scan("imagenet", pets).train.folder == pets / "imagenet" / "train"
    else:
        assert scan("imagenet", pets / "pets").train.folder == pets / "pets" / "train"


def take_away(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def only_files(folder: Path) -> None:
    take_away(folder)
    folder.mkdir()
    (folder / "0.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pets: take_away(pets / "train"), "there is no train/ and val/ (or test/) in {pets}: set dataset.root="),
        (lambda pets: take_away(pets / "val"), "there is no train/ and val/ (or test/) in {pets}: set dataset.root="),
        (lambda pets: only_files(pets / "train"), "{pets}/train has no folders: it must hold one folder of images"),
        (lambda pets: only_files(pets / "val"), "{pets}/val has no images in folders of classes: sort them"),
        (lambda pets: (pets / "val" / "cow").mkdir(), "{pets}/val has the class cow, which {pets}/train has not"),
        (lambda pets: (pets / "train" / "ape").mkdir(), "{pets}/train/ape has no images (files that end in .jpg"),
        (
            lambda pets: (pets / "train" / "cat" / "x.png").symlink_to("nowhere"),
            "{pets}/train/cat/x.png cannot be read (No such file or directory)",
        ),
    ],
)
def test_another_layout_is_told_in_one_line(pets: Path, change: Callable[[Path], object], message: str) -> None:
    change(pets / "pets")
    with pytest.raises(UserError) as error:
        scan("folder", pets, "pets")
    assert message.format(pets=pets / "pets") in str(error.value) and "\n" not in str(error.value)


def test_imagenet_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        scan("imagenet", tmp_path)
    assert f"is not in {tmp_path}/imagenet, nor in {tmp_path} itself" in str(error.value)


def test_torch_is_not_needed(pets: Path) -> None:
    call = f"from spfde_exp.data.image_folder import scan; scan('folder', {str(pets)!r}, 'pets')"
    code = f"import sys; {call}; print({{'torch', 'PIL'}} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"
