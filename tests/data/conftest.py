"""Small folders of images, made by hand or taken from the real one."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

Pixel = tuple[int, int, int]


def solid(path: Path, colour: Pixel, size: tuple[int, int] = (12, 10)) -> None:
    """An image of one colour, which no crop, flip or resizing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[Mapping[str, Pixel]], Path]:
    """A folder ``pets`` in `tmp_path` with images of one colour, such as ``{"train/cat/a.png": (1, 2, 3)}``."""

    def make(images: Mapping[str, Pixel]) -> Path:
        for name, colour in images.items():
            solid(tmp_path / "pets" / name, colour)
        return tmp_path

    return make


@pytest.fixture
def pets(make_folder: Callable[[Mapping[str, Pixel]], Path]) -> Path:
    """Three classes of four training and two test images; red tells the class, green the number within it."""
    images = {
        f"{split}/{name}/{number}.png": (80 * label, 20 * number, 255 * (split == "val"))
        for label, name in enumerate(("cat", "dog", "eel"))
        for split, count in (("train", 4), ("val", 2))
        for number in range(count)
    }
    return make_folder(images)


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder that holds tiny-imagenet-20: 20 classes of 100 training and 25 test JPEGs of 64 x 64."""
    root = os.environ.get("SPFDE_TEST_DATA")
    if root is None or not (Path(root) / "tiny-imagenet-20").is_dir():
        pytest.skip("SPFDE_TEST_DATA does not name a folder with tiny-imagenet-20")
    return Path(root)
