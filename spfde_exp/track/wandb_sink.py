"""The run's side of Weights & Biases: a child process that mirrors the run folder, and nothing else.

`wandb` is never imported here. A W&B that raises, hangs or is slow stays in the child: the run loses at most
`timeout_s` seconds at its end and one log line. The run folder stays the only truth.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from spfde_exp.errors import UserError

MODES = ("offline", "online", "disabled")
LOG_NAME = "wandb.log"

_log = logging.getLogger(__name__)
_MIRROR = "spfde_exp.track.wandb_mirror"
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_REAP_S = 5.0  # a killed child that sits in a dead file system cannot be reaped: do not wait for ever


class WandbSink:
    """Mirrors one run folder into W&B from a child process.

    Offline, the child is started by `finish` and replays the whole history into one fresh offline run under
    `run_dir/wandb/`. Online, `start` starts a child that follows the folder while the run trains. The child's
    output goes to `run_dir/wandb.log`. Neither method raises: what fails is one warning in the log.

    Call `start` once the folder holds `config.yaml` and `meta.json` and its status says running (not the
    failure of an earlier attempt), and `finish` after the last write to the folder, also when the run failed;
    `abandon` instead when it was stopped and is to go on later.

    Args:
        run_dir: the run folder.
        mode: `offline`, `online`, or `disabled` (no child at all).
        project, entity, group, tags: as in `wandb.init`; None leaves them to the `WANDB_*` environment.
        timeout_s: seconds that `finish` waits before it kills the child.

    Raises:
        UserError: unknown mode.
    """

    def __init__(
        self,
        run_dir: Path,
        mode: str,
        project: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        timeout_s: float = 60.0,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"wandb mode {mode!r} is unknown: use {', '.join(MODES)}")
        self._run_dir = Path(run_dir).absolute()
        self._mode = mode
        self._timeout_s = timeout_s
        self._options = [str(self._run_dir), "--mode", mode]
        for flag, value in (("--project", project), ("--entity", entity), ("--group", group)):
            if value:
                self._options += [flag, value]
        if tags:
            self._options += ["--tags", ",".join(tags)]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Online: start the follower. Offline and disabled: nothing."""
        if self._mode == "online":
            self._spawn("--follow")

    def finish(self) -> bool:
        """Complete the mirror, waiting at most `timeout_s`; True when W&B holds the whole run.

        False when it does not (the reason is logged) and when the sink is disabled.
        """
        if self._mode == "offline":
            self._spawn()
        if self._child is None:
            return False
        child, self._child = self._child, None
        try:
            reason = self._complete(child)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            self._warn(reason)
        return reason is None

    def abandon(self) -> None:
        """The run was stopped and goes on later: end the mirror at once."""
        child, self._child = self._child, None
        if child is not None:
            _kill_group(child)

    def _spawn(self, *extra: str) -> None:
        try:
            if not _wandb_installed():
                self._warn("wandb is not installed")
                return
            env = dict(os.environ)
            # The child must find this package also in a checkout that is not installed; at the end of the
            # path, so that nothing the user put there is shadowed.
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), _PACKAGE_ROOT]))
            # Names the wandb-core of a program around the run: the mirror is to have, and end, its own.
            env.pop("WANDB_SERVICE", None)
            with open(self._run_dir / LOG_NAME, "ab") as log:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", _MIRROR, *self._options, "--parent-pid", str(os.getpid()), *extra],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=env,
                    start_new_session=True,  # Ctrl-C is for the run, and the group can be killed as one
                )
        except Exception as error:
            self._warn(f"{type(error).__name__}: {error}")

    def _complete(self, child: subprocess.Popen[bytes]) -> str | None:
        """Tell the child that no row will follow and wait for it; why it failed, or None."""
        assert child.stdin is not None
        try:
            child.stdin.write(b"\n")
            child.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already; its exit status tells the rest
        try:
            status = child.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            return f"not done after {self._timeout_s:g} s, stopped"
        finally:
            _kill_group(child)
        if status == 0:
            return None
        return f"exit status {status}, {self._last_log_line()}"

    def _last_log_line(self) -> str:
        lines = (self._run_dir / LOG_NAME).read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing logged")

    def _warn(self, reason: str) -> None:
        _log.warning(
            "W&B does not hold the whole run (%s); the run folder does. Log: %s. To mirror it later: python -m %s %s",
            reason,
            self._run_dir / LOG_NAME,
            _MIRROR,
            " ".join(self._options),
        )


def _wandb_installed() -> bool:
    # A stray folder ./wandb, which W&B itself leaves everywhere, is found as a namespace package: no origin.
    spec = importlib.util.find_spec("wandb")
    return spec is not None and spec.origin is not None


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill a child that still runs, with its group. wandb-core has a session of its own, but ends with its client."""
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGKILL)
    try:
        child.wait(_REAP_S)
    except subprocess.TimeoutExpired:
        _log.warning("the W&B mirror, process %d, does not react to SIGKILL", child.pid)
