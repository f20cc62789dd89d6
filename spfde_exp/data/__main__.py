"""``python -m spfde_exp.data NAME --to DIR``: fetch and check a data set beforehand, once."""

import os
from pathlib import Path

from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.data.specs import SOURCES
from spfde_exp.errors import UserError


def command() -> None:
    """Fetch what can be downloaded, check, print one line.

    Raises:
        UserError: the set cannot be had, or what lies there is damaged.
    """
    parser = OneLineParser("python -m spfde_exp.data", description="Fetch and check a data set.")
    parser.add_argument("name", metavar="NAME", choices=list(SOURCES), help=f"one of {', '.join(SOURCES)}")
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get("SPFDE_DATA", "data")),
        help="folder of data sets, for dataset.root=DIR (default: $SPFDE_DATA, else data)",
    )
    parser.add_argument("--folder", metavar="NAME", help="with folder: DIR/NAME holds train/ and val/ (or test/)")
    options = parser.parse_args()
    if (options.name == "folder") != (options.folder is not None):
        raise UserError("--folder goes with the data set folder: python -m spfde_exp.data folder --folder NAME")
    from spfde_exp.data.sources import load

    dataset = load(options.name, options.to, folder=options.folder, image_size=224)
    place = "embedded, needs no download" if options.name == "digits" else f"in {options.to.expanduser().resolve()}"
    sizes = f"{len(dataset.train_y)} training and {len(dataset.test_y)} test images of {dataset.num_classes} classes"
    over = "names and sizes of the files, " if SOURCES[options.name].files else ""
    print(f"{options.name}: {place}, {sizes}, {over}sha256 {dataset.checksum}")


if __name__ == "__main__":
    guarded(command)
