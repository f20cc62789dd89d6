"""Sets in files: subsets and hold-outs of them, ImageNet's sizes, and plans made from a folder."""

from pathlib import Path

import pytest
import torch

from spfde_exp.config import compose, identity, signature
from spfde_exp.data import ImageSet, load
from spfde_exp.data import specs as module
from spfde_exp.data.images import Files
from spfde_exp.data.specs import Source, Spec, spec_of
from spfde_exp.errors import UserError
from spfde_exp.plan import build_model, make_plan, train_size

FOLDER = ["dataset=folder", "dataset.folder=pets"]


def images(root: Path, name: str = "folder", folder: str | None = "pets", **settings: object) -> ImageSet:
    found = load(name, root, folder=folder, image_size=8, **settings)  # type: ignore[arg-type]
    assert isinstance(found, ImageSet)
    return found


def paths(files: Files | None) -> list[str]:
    assert files is not None
    return ["/".join(Path(files.path(i)).parts[-3:]) for i in range(len(files.labels))]


def test_paths_and_labels(pets: Path) -> None:
    found = images(pets)
    assert paths(found.train)[:5] == [*(f"train/cat/{i}.png" for i in range(4)), "train/dog/0.png"]
    assert paths(found.test) == [f"val/{name}/{i}.png" for name in ("cat", "dog", "eel") for i in range(2)]
    assert found.train_y.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.test_y.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.num_classes == 3 and found.val is None


def test_subset_hold_out_and_test_subset_are_balanced_and_apart(pets: Path) -> None:
    found = images(pets, subset=6, val_fraction=0.25, test_subset=3, split_seed=1)
    assert found.train_y.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.val is not None and found.val.labels.tolist() == [0, 1, 2]
    assert found.test_y.tolist() == [0, 1, 2]
    assert not set(paths(found.train)) & set(paths(found.val))
    assert all(path.startswith("train/") for path in paths(found.val))
    labels = {path: path.split("/")[1] for path in paths(found.train)}
    assert [("cat", "dog", "eel")[y] for y in found.train_y] == list(labels.values())
    assert found.checksum == images(pets).checksum


def test_a_real_subset_is_balanced(real_images: Path) -> None:
    found = images(real_images, folder="tiny-imagenet-20", subset=200, val_fraction=0.1)
    assert found.train_y.bincount().tolist() == [10] * 20
    assert found.val is not None and found.val.labels.bincount().tolist() == [10] * 20
    assert not set(paths(found.train)) & set(paths(found.val))


def test_imagenet_must_be_all_of_it(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pets / "pets").rename(pets / "imagenet")
    with pytest.raises(UserError, match="imagenet is not imagenet: it has 12 training and 6 test images of 3 classes"):
        images(pets, "imagenet", None)
    assert module.SOURCES["imagenet"].spec == Spec(1_281_167, 50_000, (3, 224, 224), 1000)
    monkeypatch.setitem(module.SOURCES, "imagenet", Source("images", Spec(12, 6, (3, 224, 224), 3), files=True))
    assert len(images(pets, "imagenet", None).train_y) == 12


def test_a_folder_is_planned_from_its_files(pets: Path) -> None:
    config = compose([*FOLDER, f"dataset.root={pets}", "dataset.image_size=16", "optim.batch_size=4"])
    assert spec_of(config.dataset) == Spec(12, 6, (3, 16, 16), 3)
    assert train_size(config) == 12
    plan = make_plan(config)
    assert plan.to_dict()["sieve"]["examples"] == 12 and plan.layers[-1].shape == (3, 32)
    assert build_model(config).classifier.out_features == 3
    larger = make_plan(compose([*FOLDER, f"dataset.root={pets}", "dataset.image_size=32", "optim.batch_size=4"]))
    assert larger.prediction()["train_flops"] > 3 * plan.prediction()["train_flops"]


def test_a_folder_that_is_not_there_cannot_be_planned(tmp_path: Path) -> None:
    config = compose([*FOLDER, f"dataset.root={tmp_path}"])
    with pytest.raises(UserError) as error:
        make_plan(config)
    assert "dataset=folder cannot be planned without its images" in str(error.value)
    assert f"in {tmp_path}/pets: set dataset.root=DIR and dataset.folder=NAME" in str(error.value)


@pytest.mark.slow
def test_imagenet_is_planned_without_its_files(tmp_path: Path) -> None:
    plan = make_plan(compose(["recipe=imagenet", f"dataset.root={tmp_path}", "freeze=none"]))
    assert plan.to_dict()["sieve"]["examples"] == 1_281_167


def test_what_decides_the_result_is_part_of_the_name() -> None:
    one = compose(FOLDER)
    assert identity(one)["dataset.folder"] == "pets" and identity(one)["dataset.image_size"] == 224
    same = ["dataset.workers=3", "dataset.root=elsewhere", "dataset.pad=4"]
    assert all(signature(compose([*FOLDER, key])) == signature(one) for key in same)
    other = ["dataset.image_size=64", "dataset.folder=birds", "dataset.flip=false"]
    names = {signature(compose([*FOLDER, key])) for key in other}
    assert len(names) == 3 and signature(one) not in names


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
def test_sets_in_memory_read_none_of_the_keys_for_files(name: str) -> None:
    plain = compose([f"dataset={name}"])
    assert plain == compose([f"dataset={name}", "+dataset.folder=x", "+dataset.image_size=5", "+dataset.workers=7"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=folder"], "dataset.folder has no value; set dataset.folder=NAME"),
        ([*FOLDER, "dataset.image_size=null"], "dataset.image_size=null is impossible with dataset=folder"),
        ([*FOLDER, "dataset.image_size=0"], "dataset.image_size=0 is impossible; allowed: null or a whole number"),
        ([*FOLDER, "dataset.workers=-1"], "dataset.workers=-1 is impossible; allowed: auto or a whole number from 0"),
        (["dataset.name=svhn"], "dataset=svhn is unknown; allowed: digits, mnist"),
    ],
)
def test_impossible_settings(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        compose(overrides)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_moving_it_to_a_device_moves_nothing(pets: Path) -> None:
    found = images(pets)
    assert found.to("meta") is found and found.train_y.device == torch.device("cpu")
