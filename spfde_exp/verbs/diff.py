"""Compare two runs: settings that differ, results side by side."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from spfde_exp.config import NEUTRAL, flatten, identity
from spfde_exp.errors import UserError
from spfde_exp.launch.table import duration, print_table, size
from spfde_exp.progress import Reader
from spfde_exp.selection import add_runs, by_prefix, find_runs
from spfde_exp.store import RunFolder
from spfde_exp.verbs.show import code_text

# summary key -> (its name, how it is printed)
RESULTS = {
    "test_acc": ("test accuracy", lambda v: f"{v:.2f} %"),
    "best_test_acc": ("best test accuracy", lambda v: f"{v:.2f} %"),
    "sparsity": ("sparsity", lambda v: f"{v:.4f}"),
    "train_flops": ("FLOPs as executed", lambda v: f"{v:.4g}"),
    "flops_reduction_total": ("saved", lambda v: f"{100 * v:.2f} %"),
    "memory_avg_bytes": ("memory, average", size),
    "epoch_time_mean_s": ("epoch", lambda v: f"{v:.3g} s"),
    "train_time_s": ("training", duration),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("signatures", nargs=2, metavar="SIG", help="a run, by the beginning of its signature")
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    """Print the comparison."""
    folders = find_runs(arguments.runs)
    one, two = (by_prefix(prefix, folders, arguments.runs) for prefix in arguments.signatures)
    answer = compare(one, two)
    if arguments.json:
        print(json.dumps(answer, indent=1))
        return
    print(verdict(answer))
    columns = ("", *answer["runs"])
    for title, part in (("settings", "settings"), ("not part of the signature", "others")):
        if answer[part]:
            print_table(title, columns, [[key, *map(_text, pair)] for key, pair in answer[part].items()])
    rows = [
        [name, *("" if value is None else show(value) for value in answer["results"][key])]
        for key, (name, show) in RESULTS.items()
        if key in answer["results"]
    ]
    rows = [["state", *answer["states"]], *rows, ["code", *answer["code"]]]
    print_table("results", columns, rows)


def compare(one: RunFolder, two: RunFolder) -> dict[str, Any]:
    """What differs between two runs.

    Returns:
        `settings`, the configuration keys that decide the result, and `others`, each key -> the two values; `results`,
        keys of summary.json that either has; `states`; `code`, its versions; `runs`, the signatures.

    Raises:
        UserError: a run has no configuration that can be read.
    """
    runs, reader = (one, two), Reader()
    configs = [_config(folder, reader) for folder in runs]
    deciding = set().union(*(identity(config) for config in configs)) | set(NEUTRAL)
    differs = _differences(*(NEUTRAL | flatten(config) for config in configs))
    summaries = [folder.summary() or {} for folder in runs]
    return {
        "runs": [folder.signature for folder in runs],
        "code": [code_text(meta) if (meta := folder.json("meta")) else "" for folder in runs],
        "states": [reader.read(folder).state for folder in runs],
        "settings": {key: pair for key, pair in differs.items() if key in deciding},
        "others": {key: pair for key, pair in differs.items() if key not in deciding},
        "results": {key: [s.get(key) for s in summaries] for key in RESULTS if any(key in s for s in summaries)},
    }


def verdict(answer: Mapping[str, Any]) -> str:
    """In one line, what makes two runs different."""
    keys = list(answer["settings"])
    if answer["runs"][0] == answer["runs"][1]:
        return "both are the same run"
    if not keys:
        return "they differ in no setting that decides the result"
    return f"they differ in nothing but {keys[0]}" if len(keys) == 1 else f"they differ in {len(keys)} settings"


def _config(folder: RunFolder, reader: Reader) -> dict[str, Any]:
    config = reader.config(folder)
    if not config:
        raise UserError(f"run {folder.signature} has no config.yaml that can be read; train it again")
    return config


def _differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    keys = sorted({*one, *two})
    return {key: [one.get(key), two.get(key)] for key in keys if one.get(key) != two.get(key)}


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
