"""Pages that a process fetches from the system while it makes and frees tensors."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, torch
from spfde_exp.train.heap import LARGEST, keep_memory

def pages(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        held = [torch.ones(4 << 20, dtype=torch.uint8) for _ in range(40)]
        del held
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / rounds

for trim in (2 * LARGEST, -1):
    keep_memory(trim)
    pages(2)
    print(pages(4))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_kept_memory_is_not_fetched_again() -> None:
    """160 MB in each round, of pages of 4 kB or more."""
    words = [sys.executable, "-c", CODE]
    returned, kept = map(float, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert returned > 40  # even of huge pages
    assert kept < returned / 20
