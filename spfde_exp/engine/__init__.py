"""Sparse training on CPUs: kernels whose work is that of the non-zero weights, in a layout with the batch innermost."""

import hashlib
from pathlib import Path

import numba

from spfde_exp.files import cache_folder


def _keep_compiled() -> None:
    """Keep compiled kernels by what all sources say: numba looks at the one a function is in, not at what it calls."""
    if not numba.config.CACHE_DIR:  # type: ignore[attr-defined]  # NUMBA_CACHE_DIR
        sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
        name = f"kernels-{hashlib.sha256(sources).hexdigest()[:16]}"
        numba.config.CACHE_DIR = str(cache_folder() / name)  # type: ignore[attr-defined]


_keep_compiled()
