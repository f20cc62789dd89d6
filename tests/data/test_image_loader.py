"""Decoding beside the training: the same pixels with any number of workers, each image with its label and index."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from spfde_exp.data import ImageSet, load
from spfde_exp.data.image_loader import CHUNK, Chunks, ImageBatches
from spfde_exp.data.images import MEAN, STD
from spfde_exp.errors import UserError

CPU = torch.device("cpu")


def images(root: Path, folder: str = "pets", size: int = 8, **settings: object) -> ImageSet:
    found = load("folder", root, folder=folder, image_size=size, **settings)  # type: ignore[arg-type]
    assert isinstance(found, ImageSet)
    return found


def batches(root: Path, batch_size: int = 5, flip: bool = True, workers: int = 0, **settings: object) -> ImageBatches:
    return ImageBatches(images(root, **settings), batch_size, flip, workers, CPU)  # type: ignore[arg-type]


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def colours(x: Tensor) -> list[list[int]]:
    """The colour of each image of one colour, as it was in the file: [[r, g, b], ...]."""
    pixels = ((x * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255).round().int()
    assert torch.equal(pixels, pixels[:, :, :1, :1].expand_as(pixels))
    return pixels[:, :, 0, 0].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_every_kept_image_once_with_its_pixels_label_and_index(pets: Path, workers: int) -> None:
    loader = batches(pets, workers=workers)
    kept = torch.tensor([0, 2, 3, 5, 7, 8, 11])
    for epoch in range(2):
        seen: list[int] = []
        sizes = []
        for x, y, index in loader.epoch(kept, drawn(epoch)):
            assert x.shape[1:] == (3, 8, 8) and x.dtype == torch.float32
            assert x.is_contiguous(memory_format=torch.channels_last)
            assert y.tolist() == [i // 4 for i in index.tolist()]
            assert colours(x) == [[80 * (i // 4), 20 * (i % 4), 0] for i in index.tolist()]
            seen += index.tolist()
            sizes.append(len(index))
        assert sizes == [5, 2]
        assert sorted(seen) == kept.tolist()
    assert loader.num_batches(7) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_is_in_order(pets: Path, workers: int) -> None:
    loader = batches(pets, workers=workers, val_fraction=0.25)
    x, y = (torch.cat(parts) for parts in zip(*loader.evaluation("test", batch_size=4), strict=True))
    assert y.tolist() == [0, 0, 1, 1, 2, 2]
    assert colours(x) == [[80 * label, 20 * number, 255] for label in range(3) for number in range(2)]
    sizes = {split: [len(labels) for _, labels in loader.evaluation(split)] for split in ("train", "val")}
    assert sizes == {"train": [9], "val": [3]}


def test_evaluation_is_torchvisions_usual_pipeline(real_images: Path) -> None:
    """Shorter side to 256/224 of the size, centre crop, normalised: 37 and 32 pixels here."""
    loader = batches(real_images, folder="tiny-imagenet-20", size=32, test_subset=20)
    pipeline = v2.Compose(
        [v2.Resize(37), v2.CenterCrop(32), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    ((x, _),) = loader.evaluation("test")
    paths = [loader.images.test.path(i) for i in range(20)]
    expected = torch.stack([pipeline(Image.open(path).convert("RGB")) for path in paths])
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5)


def test_training_is_torchvisions_random_resized_crop_and_flip(real_images: Path) -> None:
    loader = batches(real_images, folder="tiny-imagenet-20", size=32, subset=20)
    order, seeds = torch.arange(20), torch.arange(100, 120)
    ((x, _, _),) = loader._batches("train", order, seeds, 20)
    augment = v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip()])
    plain = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    for index in range(20):
        with torch.random.fork_rng():
            torch.manual_seed(100 + index)
            image = augment(Image.open(loader.images.train.path(index)).convert("RGB"))
        torch.testing.assert_close(x[index], plain(image), rtol=1e-5, atol=1e-5)


def test_workers_change_no_bit(real_images: Path) -> None:
    """Over two epochs and an evaluation between them, of real JPEGs, with images seen again."""
    passes = []
    for workers in (0, 1, 2):
        loader = batches(real_images, 48, workers=workers, folder="tiny-imagenet-20", size=24, subset=120)
        parts = [
            *loader.epoch(torch.arange(100), drawn(3)),
            *loader.evaluation("train"),
            *loader.epoch(torch.arange(70), drawn(4)),
        ]
        passes.append([tensor for part in parts for tensor in part])
    for other in passes[1:]:
        assert len(other) == len(passes[0])
        assert all(torch.equal(a, b) for a, b in zip(passes[0], other, strict=True))


def test_equal_seeds_equal_batches_and_epochs_differ(real_images: Path) -> None:
    loader = batches(real_images, 20, folder="tiny-imagenet-20", size=16, subset=20)
    kept = torch.arange(20)
    by_index = []
    for seed in (1, 1, 2):
        ((x, _, index),) = loader.epoch(kept, drawn(seed))
        by_index.append(x[index.argsort()])
    assert torch.equal(by_index[0], by_index[1])
    assert not any(torch.equal(a, b) for a, b in zip(by_index[0], by_index[2], strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_runs_own_random_numbers_stay(pets: Path, workers: int) -> None:
    """An epoch draws from its generator when it is asked for, and nothing from torch's."""
    torch.manual_seed(5)
    state = torch.get_rng_state()
    generator = drawn(0)
    loader = batches(pets, workers=workers)
    epoch = loader.epoch(torch.arange(12), generator)
    after = generator.get_state()
    list(epoch)
    list(loader.evaluation("test"))
    assert torch.equal(generator.get_state(), after)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("flip", [False, True])
def test_images_are_mirrored_only_where_asked(make_folder: Callable[..., Path], tmp_path: Path, flip: bool) -> None:
    make_folder({f"{split}/a/{i}.png": (0, 0, 0) for split in ("train", "val") for i in range(30)})
    for path in tmp_path.rglob("train/a/*.png"):  # brighter to the right
        Image.linear_gradient("L").rotate(90).save(path)
    ((x, _, _),) = batches(tmp_path, 30, flip=flip).epoch(torch.arange(30), drawn(0))
    brighter_left = (x[:, 0, :, :4].mean((1, 2)) > x[:, 0, :, 4:].mean((1, 2))).sum().item()
    assert 5 < brighter_left < 25 if flip else brighter_left == 0


def test_grey_and_transparent_images_become_rgb(pets: Path) -> None:
    cat = pets / "pets" / "train" / "cat"
    Image.new("L", (9, 9), 100).save(cat / "0.png")
    Image.new("RGBA", (9, 9), (1, 2, 3, 50)).save(cat / "1.png")
    ((x, _, index),) = batches(pets, 2).epoch(torch.arange(2), drawn(0))
    assert [colours(x)[place] for place in index.argsort()] == [[100, 100, 100], [1, 2, 3]]


def cut_short(path: Path) -> None:
    Image.linear_gradient("L").save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_short, "truncated"),
        (lambda path: path.write_text("an error page"), "cannot identify image file"),
        (Path.unlink, "No such file or directory"),
    ],
)
def test_a_broken_file_is_named_in_one_line(
    pets: Path, damage: Callable[[Path], object], reason: str, workers: int
) -> None:
    loader = batches(pets, 12, workers=workers)
    path = pets / "pets" / "train" / "dog" / "2.png"
    damage(path)
    with pytest.raises(UserError) as error:
        list(loader.epoch(torch.arange(12), drawn(0)))
    assert str(error.value).startswith(f"{path} cannot be decoded (") and "\n" not in str(error.value)
    assert reason in str(error.value)
    assert len(list(loader.epoch(torch.arange(6), drawn(0)))) == 1  # the others go on


def test_one_pass_at_a_time(pets: Path) -> None:
    loader = batches(pets, 4, workers=1)
    first = loader.epoch(torch.arange(12), drawn(0))
    next(first)
    assert len(list(loader.evaluation("test"))) == 1
    with pytest.raises(RuntimeError, match="begun before the last one ended"):
        next(first)


@given(st.integers(0, 200), st.integers(1, 100))
def test_chunks_hold_every_key_once_and_no_two_batches(n: int, batch_size: int) -> None:
    chunks = Chunks()
    chunks.order, chunks.seeds, chunks.batch_size = torch.arange(n) + 7, torch.arange(n) + 1000, batch_size
    parts = list(chunks)
    keys = [key for part in parts for key in part]
    assert [(key.number, key.seed) for key in keys] == [(i + 7, i + 1000) for i in range(n)]
    assert all(1 <= len(part) <= CHUNK for part in parts)
    assert all((part[0].number - 7) // batch_size == (part[-1].number - 7) // batch_size for part in parts)


@pytest.mark.parametrize("split", ["val", "dev"])
def test_absent_split(pets: Path, split: str) -> None:
    with pytest.raises(ValueError, match=f"no split '{split}'"):
        batches(pets).evaluation(split)


def test_it_says_what_methods_ask(pets: Path) -> None:
    loader = batches(pets)
    assert loader.shape == (3, 8, 8)
    assert loader.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
