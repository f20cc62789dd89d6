"""Random numbers that depend on what they are for, not on what happened before: resuming needs no state."""

import hashlib

import torch


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose of a run, such as ``generator(seed, "data", epoch)``."""
    text = "/".join(map(str, (seed, *purpose)))
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1)
