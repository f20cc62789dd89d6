"""What all tests share: one thread, a clean Hydra and log, the command as a process, and the real data where it is."""

import getpass
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numba
import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings

import spfde_exp.engine  # noqa: F401  it says where compiled kernels are kept
from spfde_exp.locks import FileLock
from spfde_exp.store import ALIVE, SWEEPS, RunFolder

# A change is judged by the same examples every time; who runs the tests by hand searches further each time.
settings.register_profile("project", database=None, deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")
ROOT = Path(__file__).resolve().parent.parent
# A shell starts background jobs with Ctrl-C ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["OMP_NUM_THREADS"] = "1"  # torch is not imported yet; several test processes share the cores
# Processes that tests start do not each compile the kernels, though their cache folders are their own.
os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR


class RunCli(Protocol):
    def __call__(
        self,
        *arguments: str,
        cwd: Path,
        module: str = "spfde_exp",
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(autouse=True)
def own_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests that run at the same time do not share the machine's slots, nor what is kept about its speed."""
    tmp_path_factory.getbasetemp()  # not inside a folder that goes with the first test
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setenv("XDG_CACHE_HOME", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    log = logging.getLogger()
    level, handlers = log.level, list(log.handlers)
    yield
    GlobalHydra.instance().clear()
    log.setLevel(level)  # the command sets up logging for its process
    for handler in set(log.handlers).difference(handlers):
        log.removeHandler(handler)


@pytest.fixture
def run_cli() -> RunCli:
    """`python -m MODULE ARGUMENTS...` of this checkout, in the folder `cwd`."""

    def run(
        *arguments: str,
        cwd: Path,
        module: str = "spfde_exp",
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", module, *arguments]
        environment = {**os.environ, "PYTHONPATH": path, **(env or {})}
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


@pytest.fixture
def living_sweep() -> Iterator[Callable[[Path], str]]:
    """A sweep that lives, in the given runs_dir: its id, for runs that wait for it."""
    held: list[FileLock] = []

    def live(runs_dir: Path) -> str:
        alive = FileLock(runs_dir / SWEEPS / "living" / ALIVE)
        alive.path.parent.mkdir(parents=True, exist_ok=True)
        if alive.take(tries=1):
            held.append(alive)
        return "living"

    yield live
    for lock in held:
        lock.release()


@pytest.fixture
def make_run(tmp_path: Path, living_sweep: Callable[[Path], str]) -> Callable[..., RunFolder]:
    """A run folder in `tmp_path`, made by hand: in any state but running, which needs a process that trains it.

    What is pending waits for a sweep that lives.
    """

    def make(
        signature: str,
        state: str = "done",
        rows: int = 3,
        config: Mapping[str, Any] | None = None,
        settings: str = "seed=0",
        **status: Any,
    ) -> RunFolder:
        folder = RunFolder(tmp_path / signature)
        folder.path.mkdir()
        folder.write_config({"epochs": 4, "seed": 0, "sweep": None, **(config or {})})
        folder.write_json("meta", {"overrides": settings.split()})
        for epoch in range(rows):
            row = {"epoch": epoch, "test_acc": 50.0 + epoch, "epoch_time_s": 2.0, "eval_time_s": 0.5}
            folder.append_metrics(row)
        if state == "pending" and not {"sweep", "slurm_job"} & status.keys():
            status["sweep"] = living_sweep(tmp_path)
        if state != "new":
            folder.set_status(state, **status)
        if state == "done":
            folder.write_json("summary", {"test_acc": 50.0 + rows - 1})
        return folder

    return make


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A private Slurm with two nodes of two cores; yields what its clients need in their environment."""
    spec = importlib.util.spec_from_file_location("_slurm_cluster", ROOT / "benchmarks" / "_slurm_cluster.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if reason := module.missing():
        pytest.skip(f"no Slurm here: {reason}")
    with module.private_slurm(tmp_path_factory.mktemp("slurm") / "cluster") as env:
        yield env


@pytest.fixture
def slurm(slurm_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The private Slurm, with an empty queue: `slurm("scancel", "12_3")` calls one of its commands."""
    for name, value in slurm_cluster.items():
        monkeypatch.setenv(name, value)

    def call(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    yield call
    call("scancel", f"--user={getpass.getuser()}")
    if "down" in call("sinfo", "--noheader", "--format=%t"):
        call("scontrol", "update", "nodename=ALL", "state=resume")
    end = time.monotonic() + 120
    while left := call("squeue", "--noheader"):
        assert time.monotonic() < end, f"jobs that nobody wants are not ended:\n{left}"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def _opening() -> list[list[str]]:
    """The lists that want every path opened or listed by this process: an audit hook stays until its end."""
    wanted: list[list[str]] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir"):
            for paths in wanted:
                paths.append(str(arguments[0]))

    sys.addaudithook(hook)
    return wanted


@pytest.fixture
def opened(_opening: list[list[str]]) -> Callable[[], AbstractContextManager[list[str]]]:
    """`with opened() as paths:` lists what is opened meanwhile: what work costs, on however busy a machine."""

    @contextmanager
    def listening() -> Iterator[list[str]]:
        paths: list[str] = []
        _opening.append(paths)
        try:
            yield paths
        finally:
            _opening.pop()

    return listening


@pytest.fixture
def data_root() -> Path:
    """The folder with cifar-100-python and cifar-10-batches-py that SPFDE_TEST_DATA names."""
    root = os.environ.get("SPFDE_TEST_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("SPFDE_TEST_DATA does not name a folder with the real data sets")
    return Path(root)
