"""benchmarks/reading.py makes folders that are read as they were meant, in small."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_reading_is_right(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "reading.py"), "--runs", "100", "--turns", "1"]
    answer = subprocess.run([*command, "--place", str(tmp_path)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    lines = [line for line in answer.stdout.splitlines() if line.startswith("100 ")]
    assert len(lines) == 4 and all(line.endswith("yes") for line in lines)
    assert list(tmp_path.iterdir()) == []
