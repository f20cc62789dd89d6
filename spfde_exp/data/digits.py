"""scikit-learn's embedded 8x8 handwritten digits: real data that needs no download."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import torch

from spfde_exp.errors import UserError

from .dataset import Dataset, Pixels, checksum

# Of the training split's pixels / 16; a test recomputes them.
MEAN = (0.3054,)
STD = (0.3761,)
TEST = 360
# Places of the training images, then of the test images: what scikit-learn's train_test_split gives, stratified and
# with random_state=0. Kept, as are the images read from their file, since importing scikit-learn takes as long as many
# a run on digits.
SPLIT = Path(__file__).with_name("digits_split.txt")


def pixels(name: str) -> Pixels:
    """What is done to its pixels."""
    return Pixels(16.0, MEAN, STD)


def read(name: str, root: Path) -> Dataset:
    """1,437 training and 360 test images, uint8 [N, 1, 8, 8] of values 0 to 16, split once and stratified.

    Raises:
        UserError: scikit-learn has no such file.
    """
    lines = gzip.decompress(_file().read_bytes()).split()
    table = torch.tensor([list(map(int, line.split(b","))) for line in lines], dtype=torch.uint8)
    order = torch.tensor([int(word) for word in SPLIT.read_text().split()])
    x, y = table[order, :-1].reshape(-1, 1, 8, 8), table[order, -1].long()
    tensors = x[:-TEST].clone(), y[:-TEST].clone(), x[-TEST:].clone(), y[-TEST:].clone()
    return Dataset(name, *tensors, num_classes=10, **vars(pixels(name)), checksum=checksum(*tensors))


def _file() -> Path:
    found = find_spec("sklearn")
    path = Path(str(found and found.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise UserError(f"dataset=digits lies in scikit-learn, which has no {path}; install scikit-learn again")
    return path
