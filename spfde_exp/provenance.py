"""Where a result came from: code, versions, machine."""

import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "spfde_exp",
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "hydra-core",
    "omegaconf",
    "submitit",
    "wandb",
)


def code_version() -> dict[str, Any]:
    """Git commit of the checkout this package runs from, and whether it was edited; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip()

    if not (root / "setup.cfg").is_file() or (commit := git("rev-parse", "HEAD")) is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


def environment() -> dict[str, Any]:
    """Versions of Python and of the packages that decide a result, and the host."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {"versions": versions, "host": socket.gethostname(), "platform": platform.platform()}
