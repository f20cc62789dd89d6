"""Run folders as the trainer writes them, without training."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from spfde_exp.config import compose, signature
from spfde_exp.launch.sweepfile import load_sweep
from spfde_exp.schema import Config
from spfde_exp.store import RunFolder

composed = cache(compose)  # a tenth of a second each

Plant = Callable[..., dict[tuple[int, int], Path]]
Watch = Callable[[Mapping[tuple[int, int], Path], str, Callable[[int, int, int], dict[str, Any]]], None]


def accuracy(cell: int, seed: int) -> float:
    """A different value for every run; the mean over seeds 0 to 2 is 50 + 1.5 cell + 0.4 / 3."""
    return 50 + 1.5 * cell + (0.0, 0.1, 0.3, 0.7, 1.5)[seed]


def write_run(path: Path, config: Config, test_acc: Any, more: Mapping[str, Any] | None = None) -> None:
    """A finished run with the files that tables read; `more` goes into its summary."""
    folder = RunFolder(path)
    folder.path.mkdir(parents=True)
    folder.write_config(asdict(config))
    folder.write_json("meta", {"git": {"commit": "0123abc", "dirty": False}, "overrides": []})
    folder.set_status("done")
    folder.file("metrics.jsonl").write_text("".join(f'{{"epoch": {epoch}}}\n' for epoch in range(config.epochs)))
    summary = {
        "signature": signature(config),
        "seed": config.seed,
        "test_acc": test_acc,
        "epochs": config.epochs,
        "flops_reduction_freeze": config.freeze.target + 0.001,
        "flops_reduction_sieve": config.sieve.ratio,
        "flops_reduction_total": 1 - (1 - config.freeze.target) * (1 - config.sieve.ratio),
        **(more or {}),
    }
    folder.write_json("summary", summary)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save time, not work: no folder has to outlive a power cut."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """``plant(table, *overrides, ...)`` writes a run for each cell and seed; cells are numbered as in the sweep."""

    def write(
        table: str,
        *overrides: str,
        runs: Path = tmp_path / "runs",
        cells: Any = None,
        seeds: tuple[int, ...] = (0, 1, 2),
        name: Callable[[Config], str] = signature,
        value: Callable[[int, int], Any] = accuracy,
        more: Callable[[int, int], Mapping[str, Any]] = lambda cell, seed: {},
    ) -> dict[tuple[int, int], Path]:
        sweep = load_sweep(table)
        replaced = {word.split("=")[0] for word in overrides}
        paths = {}
        for index, cell in enumerate(sweep.cells):
            if cells is not None and index not in cells:
                continue
            file = [f"{key}={text}" for key, text in (sweep.base | cell).items() if key not in replaced]
            for seed in seeds:
                config = replace(composed((*file, *overrides)), seed=seed)
                paths[index, seed] = runs / name(config)
                write_run(paths[index, seed], config, value(index, seed), more(index, seed))
        return paths

    return write


@pytest.fixture
def watch() -> Watch:
    """``watch(runs, hook, row)`` writes what a hook would, a row per epoch, into the runs that `plant` made."""

    def write(runs: Mapping[tuple[int, int], Path], hook: str, row: Callable[[int, int, int], dict[str, Any]]) -> None:
        for (cell, seed), path in runs.items():
            folder = RunFolder(path)
            folder.file("hooks").mkdir(exist_ok=True)
            config = folder.config()
            assert config is not None
            rows = ({"epoch": epoch, **row(cell, seed, epoch)} for epoch in range(config["epochs"]))
            folder.file(f"hooks/{hook}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))

    return write
