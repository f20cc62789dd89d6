"""``python -m spfde_exp.data`` as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

# Nothing listens there, so that a download fails at once with or without a network.
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {key: value for key, value in os.environ.items() if key not in ("SPFDE_DATA", "HYDRA_FULL_ERROR")}
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "spfde_exp.data", *arguments],
        cwd=folder,
        env={**keep, **NO_NETWORK, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_digits_need_no_download(tmp_path: Path) -> None:
    done = command(tmp_path, "digits")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    for part in ("embedded, needs no download", "1437 training", "360 test", "sha256 6a812af8365b27b7"):
        assert part in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_missing_set_without_a_network(tmp_path: Path) -> None:
    done = command(tmp_path, "cifar100", "--to", "sets")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: cifar100 is not in sets/cifar-100-python")
    assert "Connection refused" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_default_folder_and_full_error(tmp_path: Path) -> None:
    done = command(tmp_path, "cifar10", SPFDE_DATA="elsewhere", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "elsewhere/cifar-10-batches-py" in done.stderr


def test_unknown_name_is_one_line(tmp_path: Path) -> None:
    done = command(tmp_path, "svhn")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "digits" in done.stderr and "cifar100" in done.stderr and "imagenet" in done.stderr


def test_sizes_are_known_without_torch() -> None:
    heavy = {"torch", "torchvision", "sklearn", "hydra"}
    script = f"import sys, spfde_exp.data.specs; print({heavy} & set(sys.modules))"
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
