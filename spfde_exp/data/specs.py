"""What is known of each data set before it is read, for plans. Needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spec:
    """Sizes of a data set.

    Attributes:
        train, test: number of examples.
        shape: (channels, height, width) of an image.
        classes: number of classes.
    """

    train: int
    test: int
    shape: tuple[int, int, int]
    classes: int


SPECS = {
    "digits": Spec(1437, 360, (1, 8, 8), 10),
    "cifar10": Spec(50_000, 10_000, (3, 32, 32), 10),
    "cifar100": Spec(50_000, 10_000, (3, 32, 32), 100),
}
