"""Where each data set comes from, and what is known of it before it is read, for plans. Needs no torch."""

from dataclasses import dataclass

from spfde_exp.errors import UserError
from spfde_exp.schema import DatasetConfig


@dataclass(frozen=True)
class Spec:
    """Sizes of a data set.

    Attributes:
        train, test: number of examples.
        shape: (channels, height, width) of an image as a model sees it.
        classes: number of classes.
    """

    train: int
    test: int
    shape: tuple[int, int, int]
    classes: int


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        module: the module of this package with its reader, ``read(name, root)``, or with `files`
            ``read(name, root, folder, image_size)``.
        spec: its sizes; None where only a look at the files tells.
        files: whether its images stay in files and are decoded batch by batch, in the size that is asked for.
    """

    module: str
    spec: Spec | None
    files: bool = False


SOURCES = {
    "digits": Source("digits", Spec(1437, 360, (1, 8, 8), 10)),
    "mnist": Source("mnist", Spec(60_000, 10_000, (1, 28, 28), 10)),
    "fashion_mnist": Source("mnist", Spec(60_000, 10_000, (1, 28, 28), 10)),
    "kmnist": Source("mnist", Spec(60_000, 10_000, (1, 28, 28), 10)),
    "cifar10": Source("cifar", Spec(50_000, 10_000, (3, 32, 32), 10)),
    "cifar100": Source("cifar", Spec(50_000, 10_000, (3, 32, 32), 100)),
    "imagenet": Source("images", Spec(1_281_167, 50_000, (3, 224, 224), 1000), files=True),
    "folder": Source("images", None, files=True),
}


def source_of(name: str) -> Source:
    """The source of the data set `name`. Raises UserError, which lists the names, if there is none."""
    if name not in SOURCES:
        raise UserError(f"dataset={name} is unknown; allowed: {', '.join(SOURCES)}")
    return SOURCES[name]


def spec_of(data: DatasetConfig) -> Spec:
    """Sizes of the whole data set that a run is to use, before a subset or a hold-out is taken.

    Raises:
        UserError: only its folder tells, and that is not there or not one of images by class.
    """
    source = source_of(data.name)
    if not source.files:
        assert source.spec is not None
        return source.spec
    side = data.image_size or 0
    if source.spec is not None:
        return Spec(source.spec.train, source.spec.test, (3, side, side), source.spec.classes)
    from spfde_exp.data.image_folder import scan

    found = scan(data.name, data.root, data.folder)
    return Spec(len(found.train.labels), len(found.test.labels), (3, side, side), len(found.classes))
