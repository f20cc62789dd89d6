"""The files of a run folder: read, written and cleared. Needs no torch."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from spfde_exp.config import SCHEMA_VERSION
from spfde_exp.errors import UserError
from spfde_exp.files import read_json, whole_rows, write_atomic

# ten times as fast where PyYAML has its C part; status reads a thousand configurations
LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_version(version: Any, where: object) -> None:
    """Refuse the configuration in `where` whose schema version is unknown.

    Raises:
        UserError: a newer version of this software wrote it.
    """
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise UserError(
            f"{where} has schema version {version}, this software reads up to {SCHEMA_VERSION}; "
            "update spfde_exp, or choose another runs_dir"
        )


class RunFiles:
    """The files of the contract in `<runs_dir>/<signature>/`.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def signature(self) -> str:
        """Name of the run."""
        return self.path.name

    def file(self, name: str) -> Path:
        """Path of a file of the run."""
        return self.path / name

    # -- reading

    def config(self) -> dict[str, Any] | None:
        """The resolved configuration, without its schema version; None where there is none.

        Raises:
            UserError: a newer version of this software wrote it.
        """
        try:
            config = yaml.load(self.file("config.yaml").read_text(), Loader=LOADER)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return None
        if not isinstance(config, dict):
            return None
        check_version(config.pop("schema_version", None), self.file("config.yaml"))
        return config

    def json(self, name: str) -> dict[str, Any] | None:
        """The object in a JSON file of the run (`meta`, `plan`, `status`, `summary`), or None."""
        return read_json(self.file(f"{name}.json"))

    def status(self) -> dict[str, Any]:
        """What status.json says; empty where there is none."""
        return self.json("status") or {}

    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run, else None."""
        return self.json("summary")

    def metrics(self) -> list[dict[str, Any]]:
        """One row per epoch; a torn last line is left out."""
        return self.rows("metrics")

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The objects in a JSON Lines file of the run, one per epoch; a torn last line is left out."""
        try:
            return whole_rows(self.file(f"{name}.jsonl").read_bytes().splitlines())
        except OSError:
            return []

    # -- writing

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Replace a JSON file of the run."""
        write_atomic(self.file(f"{name}.json"), json.dumps(value, indent=1) + "\n")

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.yaml with the schema version."""
        write_atomic(self.file("config.yaml"), yaml.safe_dump({"schema_version": SCHEMA_VERSION, **config}))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch, on disk before this returns."""
        self.append_row("metrics", row)

    def append_row(self, name: str, row: dict[str, Any]) -> None:
        """Add one epoch to a JSON Lines file of the run, on disk before this returns."""
        with self.file(f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def truncate_metrics(self, epochs: int) -> None:
        """Keep the rows of the first `epochs` epochs only."""
        self.truncate_rows("metrics", epochs)

    def truncate_rows(self, name: str, epochs: int) -> None:
        """Keep the rows of the first `epochs` epochs of a JSON Lines file only."""
        rows = [row for row in self.rows(name) if row["epoch"] < epochs]
        write_atomic(self.file(f"{name}.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))

    def clear(self) -> None:
        """Remove the results of an earlier training, to train again."""
        # Checkpoints first: killed in between, the folder is a finished run or a fresh one, nothing in between.
        checkpoints = ("checkpoint.new.pt", "checkpoint.prev.pt", "checkpoint.pt")
        for name in (*checkpoints, "summary.json", "model.pt", "metrics.jsonl", "meta.json"):
            self.file(name).unlink(missing_ok=True)
        for name in ("wandb", "hooks", "export"):
            shutil.rmtree(self.file(name), ignore_errors=True)
