"""A wandb that is absent, raises or hangs costs the run a bounded time and one warning."""

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from spfde_exp.errors import UserError
from spfde_exp.track.wandb_sink import WandbSink

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def finished(folder):
    folder.append(*range(3))
    folder.summary()
    return folder


def test_an_offline_mirror_is_told_everything(finished, fake, make_row):
    assert WandbSink(finished.path, "offline").finish()
    assert [call["values"] for call in fake.calls("log")] == [make_row(epoch) for epoch in range(3)]
    assert [call["values"]["test_acc"] for call in fake.calls("summary")] == [71.25]
    assert [call["exit_code"] for call in fake.calls("finish")] == [0]


def test_a_run_without_a_summary_counts_as_failed_in_wandb(folder, fake):
    folder.append(0)
    assert WandbSink(folder.path, "offline").finish()
    assert fake.calls("summary") == []
    assert [call["exit_code"] for call in fake.calls("finish")] == [1]


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_an_error_in_wandb_is_one_warning(finished, fake, caplog, mode):
    fake.fault("raise_init")
    before = finished.contents()
    sink = WandbSink(finished.path, mode, timeout_s=20)
    with caplog.at_level(logging.DEBUG):
        sink.start()
        assert not sink.finish()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the server said no" in caplog.text
    assert finished.contents() == before
    assert "Traceback" in (finished.path / "wandb.log").read_text()


@pytest.mark.parametrize(
    ("mode", "fault"), [("offline", "hang_init"), ("offline", "hang_finish"), ("online", "hang_finish")]
)
def test_a_hanging_wandb_is_killed_with_its_helpers(finished, fake, caplog, alive, wait_until, mode, fault):
    fake.fault(fault)
    before = finished.contents()
    sink = WandbSink(finished.path, mode, timeout_s=2)
    started = time.monotonic()
    with caplog.at_level(logging.DEBUG):
        sink.start()
        assert not sink.finish()
    assert time.monotonic() - started < 5
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not done after 2 s" in caplog.text
    (hang,) = fake.calls("hang")
    assert wait_until(lambda: not alive(hang["pid"]) and not alive(hang["helper"]), 5)
    assert finished.contents() == before


def test_an_interrupted_finish_leaves_no_child(finished, fake, alive, wait_until, tmp_path):
    fake.fault("hang_finish")
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent("""
            import sys
            from pathlib import Path
            from spfde_exp.track.wandb_sink import WandbSink

            try:
                WandbSink(Path(sys.argv[1]), "offline").finish()
            except KeyboardInterrupt:
                print("interrupted")
        """)
    )
    with _python(str(script), str(finished.path)) as run:
        assert wait_until(lambda: fake.calls("hang"))
        run.send_signal(signal.SIGINT)
        assert run.communicate(timeout=10)[0] == "interrupted\n"
    assert wait_until(lambda: not alive(fake.calls("hang")[0]["pid"]), 5)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_without_wandb_there_is_one_warning_and_no_child(finished, caplog, monkeypatch, tmp_path, mode):
    (tmp_path / "wandb").mkdir()  # W&B leaves such folders; one is no package
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    importlib.invalidate_caches()
    sink = WandbSink(finished.path, mode)
    with caplog.at_level(logging.DEBUG):
        sink.start()
        assert not sink.finish()
    assert len(caplog.records) == 1
    assert "not installed" in caplog.text
    assert not (finished.path / "wandb.log").exists()


def test_a_vanished_run_folder_is_one_warning(tmp_path, fake, caplog):
    with caplog.at_level(logging.DEBUG):
        assert not WandbSink(tmp_path / "gone", "offline").finish()
    assert len(caplog.records) == 1
    assert "FileNotFoundError" in caplog.text


def test_disabled_starts_nothing_and_imports_nothing(finished, fake):
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from spfde_exp.track.wandb_sink import WandbSink

        sink = WandbSink(Path(sys.argv[1]), "disabled")
        sink.start()
        assert sink.finish() is False
        print([name for name in ("wandb", "torch", "hydra") if name in sys.modules])
    """)
    with _python("-c", script, str(finished.path)) as run:
        assert run.communicate(timeout=20)[0] == "[]\n"
    assert not (finished.path / "wandb.log").exists()
    assert fake.calls("init") == []


def test_an_unknown_mode_is_refused(folder):
    with pytest.raises(UserError, match="offline, online, disabled"):
        WandbSink(folder.path, "sync")


def _python(*arguments):
    """A run in a process of its own, which finds this checkout and the wandb of the test."""
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
