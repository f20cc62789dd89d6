"""Images in folders by class, the layout of torchvision's ImageFolder: ``train/<class>/...`` and ``val/<class>/...``.

Names and sizes only; no image is opened. Needs no torch, so that plans can be made without it.
"""

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from spfde_exp.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPLITS = {"imagenet": ("val",), "folder": ("test", "val")}  # what is tested on: the first that has classes


@dataclass(frozen=True)
class Split:
    """The images of one split, in torchvision's order: by class, then by name.

    A million names as one string take 40 MB, as a list 100 MB, of which every worker would make its own copy.

    Attributes:
        folder: where they lie.
        names: their paths below `folder`, one after the other, in the file system's encoding.
        ends: where in `names` each ends.
        labels: class number of each.
    """

    folder: Path
    names: bytes
    ends: "array[int]"
    labels: "array[int]"


@dataclass(frozen=True)
class Scan:
    """What a data set's folder holds.

    Attributes:
        classes: names of the classes, sorted; a label is an index into them.
        train, test: the two splits.
        checksum: SHA-256 over classes, splits and every image's name and size in bytes. It tells lost, added and
            exchanged files, not a changed pixel in a file of the same size: reading 150 GB would take an hour.
    """

    classes: tuple[str, ...]
    train: Split
    test: Split
    checksum: str


def scan(name: str, root: str | Path, folder: str | None = None) -> Scan:
    """What lies below ``root/folder``; for imagenet below ``root/imagenet``, else `root` itself. Kept for next time.

    Raises:
        UserError: there is no such folder, or its layout is another one.
    """
    base = _base(name, Path(root).expanduser(), folder)
    train = base / "train"
    splits = [base / split for split in SPLITS[name]]
    test = next((split for split in splits if _class_names(split)), splits[-1])
    return _scan(train, test, _stamp(train), _stamp(test))


def _base(name: str, root: Path, folder: str | None) -> Path:
    places = [root / folder] if folder is not None else [root / name, root]
    for place in places:
        if (place / "train").is_dir() and any((place / split).is_dir() for split in SPLITS[name]):
            return place
    if folder is None:
        raise UserError(
            f"dataset={name} is not in {places[0]}, nor in {root} itself (expected: train/ and val/ with a folder of "
            "images for each class): set dataset.root=DIR"
        )
    raise UserError(
        f"dataset={name} cannot be planned without its images, and there is no train/ and val/ (or test/) in "
        f"{places[0]}: set dataset.root=DIR and dataset.folder=NAME for DIR/NAME"
    )


def _class_names(split: Path) -> list[str]:
    """Names of the class folders of a split, sorted; hidden ones are none."""
    try:
        with os.scandir(split) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(split, error) from error


def _stamp(split: Path) -> tuple[int, ...]:
    """Times of change of the class folders, so that what was kept is not used for other files."""
    return tuple((split / name).stat().st_mtime_ns for name in _class_names(split))


@lru_cache(maxsize=4)
def _scan(train: Path, test: Path, *_: object) -> Scan:
    classes = _class_names(train)
    digest = hashlib.sha256()
    if not classes:
        raise UserError(f"{train} has no folders: it must hold one folder of images for each class")
    if strange := [name for name in _class_names(test) if name not in set(classes)]:
        raise UserError(f"{test} has the class {strange[0]}, which {train} has not: both must have the same folders")
    learned, tested = _split(train, classes, digest), _split(test, classes, digest)
    if empty := sorted(set(range(len(classes))) - set(learned.labels)):
        raise UserError(f"{train / classes[empty[0]]} has no images (files that end in {', '.join(EXTENSIONS)})")
    if not tested.labels:
        raise UserError(
            f"{test} has no images in folders of classes: sort them into one folder for each, as in {train}"
        )
    return Scan(tuple(classes), learned, tested, digest.hexdigest())


def _split(folder: Path, classes: Sequence[str], digest: "hashlib._Hash") -> Split:
    names, ends, labels = bytearray(), array("q"), array("q")
    digest.update(f"{len(classes)} classes\n".encode())
    for label, name in enumerate(classes):
        for path, size in _images(folder, name):
            encoded = os.fsencode(path)
            digest.update(b"%d\t%d\t%b\0" % (label, size, encoded))
            names += encoded
            ends.append(len(names))
            labels.append(label)
    return Split(folder, bytes(names), ends, labels)


def _images(folder: Path, name: str) -> Iterator[tuple[str, int]]:
    """Path below `folder` and size in bytes of every image of a class, in its folders too; none that is hidden."""
    skip = len(os.path.join(folder, ""))
    for place, _, files in sorted(os.walk(folder / name, followlinks=True)):
        below = place[skip:]
        if "/." in below:
            continue
        for file in sorted(files):
            if file.lower().endswith(EXTENSIONS) and not file.startswith("."):
                try:
                    yield f"{below}/{file}", os.stat(f"{place}/{file}").st_size
                except OSError as error:
                    raise _unreadable(f"{place}/{file}", error) from error


def _unreadable(path: str | Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read ({error.strerror}): check its permissions, or take it away")
