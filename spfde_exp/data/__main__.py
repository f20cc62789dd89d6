"""``python -m spfde_exp.data NAME --to DIR``: fetch and check a data set beforehand, once."""

import os
from pathlib import Path

from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.data.specs import SPECS


def command() -> None:
    """Fetch, check, print one line.

    Raises:
        UserError: the set cannot be had, or what lies there is damaged.
    """
    parser = OneLineParser("python -m spfde_exp.data", description="Fetch and check a data set.")
    parser.add_argument("name", metavar="NAME", choices=list(SPECS), help=f"one of {', '.join(SPECS)}")
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get("SPFDE_DATA", "data")),
        help="folder of data sets, for dataset.root=DIR (default: $SPFDE_DATA, else data)",
    )
    options = parser.parse_args()
    from spfde_exp.data.sources import load

    dataset = load(options.name, options.to)
    folder = options.to.expanduser().resolve()
    place = "embedded, needs no download" if options.name == "digits" else f"in {folder}"
    sizes = f"{len(dataset.train_y)} training and {len(dataset.test_y)} test images"
    print(f"{options.name}: {place}, {sizes}, sha256 {dataset.checksum}")


if __name__ == "__main__":
    guarded(command)
