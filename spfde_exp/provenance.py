"""Where a result came from: code, versions, machine."""

import hashlib
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
    "pillow",
    "scikit-learn",
    "hydra-core",
    "omegaconf",
    "submitit",
    "wandb",
)


def code_version() -> dict[str, Any]:
    """Git commit of the checkout this package runs from, and whether it was edited; None outside a checkout."""
    if (commit := _git("rev-parse", "HEAD")) is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit.strip(), "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / "setup.cfg").is_file():  # installed, perhaps inside somebody else's checkout
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout


def environment() -> dict[str, Any]:
    """Versions of Python and of the packages that decide a result, and the host."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {"versions": versions, "host": socket.gethostname(), "platform": platform.platform()}


def code_diff() -> str:
    """Uncommitted changes of the checkout this package runs from, as a patch; empty outside one."""
    return _git("diff", "HEAD") or ""


def code_digest() -> str:
    """SHA-256 over the Python files of the package: equal where the same code runs, installed or not."""
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
