"""``python -m spfde_exp.data NAME --to DIR``: fetch and check a data set beforehand, once."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from spfde_exp.errors import UserError

from .sources import NAMES, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, check, print one line; the exit status is 1, with one line on stderr, if that failed."""
    parser = argparse.ArgumentParser("python -m spfde_exp.data", description="Fetch and check a data set.")
    parser.add_argument("name", metavar="NAME", choices=NAMES, help=f"one of {', '.join(NAMES)}")
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get("SPFDE_DATA", "data")),
        help="folder of data sets, for dataset.root=DIR (default: $SPFDE_DATA, else data)",
    )
    options = parser.parse_args(arguments)
    try:
        dataset = load(options.name, options.to)
    except UserError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    folder = options.to.expanduser().resolve()
    place = "embedded, needs no download" if options.name == "digits" else f"in {folder}"
    sizes = f"{len(dataset.train_y)} training and {len(dataset.test_y)} test images"
    print(f"{options.name}: {place}, {sizes}, sha256 {dataset.checksum}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
