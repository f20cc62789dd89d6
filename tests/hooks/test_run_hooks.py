"""Runs that are watched: the files they leave, the same bits as unwatched, and exact resume."""

import json
from pathlib import Path

import pytest
import torch

from spfde_exp import run as module
from spfde_exp.config import compose, identity, signature
from spfde_exp.errors import UserError
from spfde_exp.hooks.run_hooks import RunHooks
from spfde_exp.run import train
from spfde_exp.store import RunFolder

TINY = ["debug=tiny", "threads=1", "logger=none", "dataset.subset=100", "dataset.test_subset=60"]
NAMES = ("similarity", "cka", "gradient_norms", "unforgettable")
ALL = [*(f"hooks.{name}=true" for name in NAMES), "hooks.examples=20"]


def run(tmp_path: Path, *overrides: str) -> RunFolder:
    config = compose([*TINY, f"runs_dir={tmp_path}", *overrides])
    train(config, overrides)
    return RunFolder(tmp_path / signature(config))


def rows(folder: RunFolder) -> dict[str, list[dict]]:
    return {name: folder.rows(f"hooks/{name}") for name in NAMES}


def timeless(folder: RunFolder) -> list[dict]:
    return [{key: value for key, value in row.items() if "time" not in key} for row in folder.metrics()]


def assert_same_weights(one: RunFolder, other: RunFolder) -> None:
    a, b = (torch.load(f.file("model.pt"), weights_only=True) for f in (one, other))
    for part in ("model", "masks"):
        assert all(torch.equal(a[part][key], b[part][key]) for key in a[part])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tmp_path_factory.mktemp("watched"), *ALL)


def test_one_row_per_epoch_and_nothing_else_is_left(watched: RunFolder) -> None:
    assert sorted(p.name for p in watched.file("hooks").iterdir()) == sorted(f"{name}.jsonl" for name in NAMES)
    for name in NAMES:
        assert [row["epoch"] for row in rows(watched)[name]] == list(range(8))


def test_the_last_epoch_is_like_itself(watched: RunFolder) -> None:
    layers = list(rows(watched)["cka"][0]["cka"])
    assert "stem.conv" in layers and "classifier" in layers and len(layers) == 16
    last = {name: rows(watched)[name][-1] for name in ("similarity", "cka")}
    assert all(value == 1 for part in ("similarity", "common") for value in last["similarity"][part].values())
    assert all(value == pytest.approx(1, abs=1e-12) for value in last["cka"]["cka"].values())
    first = rows(watched)["cka"][0]["cka"]
    assert first["classifier"] < first["stem.conv"] < 1


def test_frozen_blocks_change_no_more(watched: RunFolder) -> None:
    frozen = [row["frozen_blocks"] for row in watched.metrics()]
    assert frozen[-2] >= 1
    alike, norms = rows(watched)["similarity"][-2], rows(watched)["gradient_norms"][-2]
    assert alike["common"]["stage1.0.conv1"] == 1.0
    assert (
        "stage1.0" not in norms["blocks"] and "stage1.0.conv1" not in norms["layers"] and norms["layers"]["classifier"]
    )


def test_the_last_count_is_the_summary_s(watched: RunFolder) -> None:
    counts, summary = rows(watched)["unforgettable"], watched.summary()
    assert counts[-1]["unforgettable"] == summary["unforgettable"]
    assert sum(row["forgetting_events"] for row in counts) == summary["forgetting_events"]


def test_watching_changes_no_bit(watched: RunFolder, tmp_path: Path) -> None:
    plain = run(tmp_path)
    assert not plain.file("hooks").exists()
    assert plain.signature != watched.signature
    assert_same_weights(plain, watched)
    assert timeless(plain) == timeless(watched)


@pytest.mark.parametrize("hook", NAMES)
def test_each_can_be_switched_on_alone(hook: str, watched: RunFolder, tmp_path: Path) -> None:
    folder = run(tmp_path, f"hooks.{hook}=true", *(["hooks.examples=20"] if hook == "cka" else []))
    assert [p.name for p in folder.file("hooks").iterdir()] == [f"{hook}.jsonl"]
    assert rows(folder)[hook] == rows(watched)[hook]


# -- resume


def stopped(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, first: bool) -> None:
    """The process is stopped in the `call`th call of a function, before or after what it does."""
    function, calls = getattr(owner, name), []

    def stop(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == call and first:
            raise KeyboardInterrupt
        answer = function(*arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(owner, name, stop)


@pytest.mark.parametrize(
    "stop",
    [
        (module, "save_checkpoint", 1, True),  # nothing is kept but what the first epoch has left
        (module, "save_checkpoint", 4, True),  # rows and snapshots are ahead of the checkpoint
        (module, "save_checkpoint", 5, False),
        (RunHooks, "finish", 1, True),
        (RunHooks, "finish", 1, False),  # compared, and the snapshots are gone
    ],
)
def test_stopped_and_gone_on_it_tells_the_same(
    stop: tuple[object, str, int, bool], watched: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped(patch, *stop)
        run(tmp_path, *ALL)
    folder = run(tmp_path, *ALL)
    assert_same_weights(folder, watched)
    assert rows(folder) == rows(watched)
    assert not folder.file("hooks/snapshots").exists()


def test_a_torn_row_is_written_again(watched: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped(patch, module, "save_checkpoint", 4, True)
        run(tmp_path, *ALL)
    file = RunFolder(tmp_path / watched.signature).file("hooks/unforgettable.jsonl")
    file.write_text(file.read_text()[:-9])
    assert rows(run(tmp_path, *ALL)) == rows(watched)


@pytest.mark.parametrize("gone", ["snapshots/0001.pt", "gradient_norms.jsonl"])
def test_what_is_lost_is_told_in_one_line(gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped(patch, module, "save_checkpoint", 4, False)
        run(tmp_path, *ALL)
    (folder,) = tmp_path.iterdir()
    (folder / "hooks" / gone).unlink()
    with pytest.raises(UserError, match="is missing or broken, and its epoch is past; .*force=true") as error:
        run(tmp_path, *ALL)
    assert "\n" not in str(error.value)
    assert len(rows(run(tmp_path, *ALL, "force=true"))["cka"]) == 8


# -- identity


def test_what_is_watched_names_another_run_and_what_is_off_names_none() -> None:
    plain = compose([])
    assert not any(key.startswith("hooks") for key in identity(plain))
    assert signature(compose(["hooks.examples=9"])) == signature(plain)
    names = {signature(compose([*more])) for more in ([], *([f"hooks.{name}=true"] for name in NAMES))}
    names.add(signature(compose(["hooks.cka=true", "hooks.examples=9"])))
    assert len(names) == 6


def test_cka_needs_four_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hooks\.examples=3 is impossible; allowed: a whole number from 4"):
        compose(["hooks.cka=true", "hooks.examples=3"])


def test_rows_are_plain_json(watched: RunFolder) -> None:
    for name in NAMES:
        for line in watched.file(f"hooks/{name}.jsonl").read_text().splitlines():
            json.loads(line, parse_constant=pytest.fail)  # no NaN, no Infinity
