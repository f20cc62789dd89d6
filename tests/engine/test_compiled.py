"""Where compiled kernels are kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOLD = "import numba, spfde_exp.engine; print(numba.config.CACHE_DIR)"


@pytest.mark.parametrize("chosen", ["", "elsewhere"])
def test_compiled_kernels_are_kept_for_these_sources_or_where_numba_is_told(chosen: str, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": chosen and str(tmp_path / chosen)}
    told = subprocess.run([sys.executable, "-c", TOLD], env=env, capture_output=True, text=True, check=True).stdout
    folder = Path(told.strip())
    if chosen:
        assert folder == tmp_path / chosen
    else:
        assert folder.parent == tmp_path / "spfde_exp"
        assert folder.name.startswith("kernels-")
