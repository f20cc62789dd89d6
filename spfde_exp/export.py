"""`python -m spfde_exp.export SIG`: a finished run as a program that needs nothing but torch, and what it gains."""

import argparse
import json
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.config import typed
from spfde_exp.errors import UserError
from spfde_exp.files import probe_dir, write_atomic
from spfde_exp.inference import PROGRAM, REPORT, SHRINKING, WEIGHTS
from spfde_exp.launch.table import print_table, size
from spfde_exp.schema import Config
from spfde_exp.selection import add_runs, one_run
from spfde_exp.store import RunFolder

if TYPE_CHECKING:
    from spfde_exp.models.base import BlockModel

NO_PROGRAM = f"There is no {PROGRAM}, only {WEIGHTS}"
NETWORKS = ("dense", "folded", "exported")
NOTES = {
    "dense": "No weight is masked: the exported model gains what folding batch norm gains.",
    "cut": "Channels that nobody reads and filters that give a constant are cut out: the exported model computes less.",
    "masks": (
        "Masks are zeros in dense tensors here, and dense kernels do not skip zeros: the exported weights take {bytes} "
        "bytes on disk, and the exported model gains no time beyond that of folding batch norm."
    ),
}


def export(folder: RunFolder, out: Path) -> dict[str, Any]:
    """Write the program, the weights and the report of a finished run to `out`.

    The report is removed first and written last: where it is, all of the export is.

    Returns:
        The report.

    Raises:
        UserError: the run is not finished, its weights cannot be used, or `out` cannot be written.
    """
    config = _finished(folder)
    try:
        probe_dir(out)
    except OSError as error:
        raise _unwritable(out, error) from error
    from spfde_exp.inference.report import Exported, exported

    model, masks = _load(folder, config)
    found: Exported = exported(config, model, masks)
    report = {"signature": folder.signature, **_result(folder), **found.report}
    report["note"] = _note(report, found.trouble)
    try:
        (out / REPORT).unlink(missing_ok=True)
        (out / PROGRAM).unlink(missing_ok=True)
        if found.program is not None:
            write_atomic(out / PROGRAM, found.program)
        write_atomic(out / WEIGHTS, found.weights)
        write_atomic(out / REPORT, json.dumps(report, indent=1) + "\n")
    except OSError as error:
        raise _unwritable(out, error) from error
    return report


def _note(report: dict[str, Any], trouble: str) -> str:
    if trouble:
        what = "Exported as it is, with batch norm and all channels" if PROGRAM in report["sizes"] else NO_PROGRAM
        return f"{what}: {trouble.rstrip('.')}."
    if report["scheme"] == "dense" or report["scheme"] in SHRINKING:
        return NOTES["dense" if report["scheme"] == "dense" else "cut"]
    cut = report["flops"]["exported"] < report["flops"]["dense"]
    fewer = report["sizes"][WEIGHTS]["bytes"] < report["sizes"]["dense"]["bytes"]
    note = NOTES["masks"].format(bytes="fewer" if fewer else "no fewer")
    return note + cut * " A few channels happen to be dead as a whole, and are cut out."


def _finished(folder: RunFolder) -> Config:
    state = folder.state()
    if state != "done":
        raise UserError(
            f"run {folder.signature} is {state}: only a finished run can be exported; train it to its end first"
        )
    raw = folder.config()
    if raw is None:
        raise UserError(f"{folder.file('config.yaml')} is gone or damaged: without it the model is not known")
    return typed(raw)


def _unwritable(out: Path, error: OSError) -> UserError:
    return UserError(f"--out {out} cannot be written ({error.strerror}); name a folder that can")


def _load(folder: RunFolder, config: Config) -> "tuple[BlockModel, dict[str, Any]]":
    """The trained model, on the CPU, and its masks."""
    import torch

    from spfde_exp.models.base import BlockModel
    from spfde_exp.plan import build_model

    path = folder.file("model.pt")
    again = f"train the run again with `python -m spfde_exp.runs rerun {folder.signature}`"
    if not path.is_file():
        raise UserError(f"{path} is gone: there are no weights to export; {again}")
    with torch.random.fork_rng(devices=[]):
        model = build_model(config)
    assert isinstance(model, BlockModel)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        return model, dict(state["masks"])
    except (
        OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        told = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit this run's model, or is damaged ({told}); {again}") from error


def _result(folder: RunFolder) -> dict[str, Any]:
    summary = folder.summary() or {}
    return {key: summary[key] for key in ("test_acc", "val_acc", "best_test_acc") if key in summary}


def show(report: dict[str, Any], out: Path) -> None:
    """Print the report as a table."""
    sizes, flops, latency = report["sizes"], report["flops"], report["latency"]
    rows = []
    for name in NETWORKS:
        if name not in flops:
            continue
        stored = sizes.get({"dense": "dense", "exported": PROGRAM}.get(name, ""))
        row = [name, *([f"{stored['parameters']:,}", size(stored["bytes"])] if stored else ["", ""])]
        row.append(f"{flops[name]:.3g}")
        for times in latency["batch"].values():
            low, middle, high = times["speedup"][name]
            faster = "" if name == "dense" else f"{middle:.2f}x [{low:.2f}, {high:.2f}]"
            row += [f"{times['median_ms'][name]:.2f} ms", faster]
        rows.append(row)
    rows.append([WEIGHTS, f"{sizes[WEIGHTS]['parameters']:,}", size(sizes[WEIGHTS]["bytes"]), *[""] * 5])
    batches = [text for batch in latency["batch"] for text in (f"batch of {batch}", "faster")]
    accuracy = f", test accuracy {report['test_acc']:.2f} %" if "test_acc" in report else ""
    print_table(
        f"run {report['signature']}{accuracy}",
        ["network", "parameters", "bytes", "FLOPs", *batches],
        rows,
        words=1,
    )
    print(f"outputs differ by at most {report['difference']:.1e} of the largest; {latency['device']}", end="")
    print(f", {latency['threads']} thread{'s' * (latency['threads'] > 1)}")
    print(report["note"])
    print(f"written to {out}: {', '.join([*([PROGRAM] if PROGRAM in sizes else []), WEIGHTS, REPORT])}")


def main() -> None:
    """The command."""

    def command() -> None:
        parser = OneLineParser(
            prog="python -m spfde_exp.export",
            description="Write a finished run as a program that needs nothing but torch, and measure it.",
        )
        parser.add_argument("signature", metavar="SIG", help="a finished run, by the beginning of its signature")
        add_runs(parser)
        parser.add_argument("--out", type=Path, help="folder to write to (default: export/ in the run's folder)")
        arguments: argparse.Namespace = parser.parse_args()
        folder = one_run(arguments.runs, arguments.signature)
        out = arguments.out or folder.file("export")
        show(export(folder, out), out)

    guarded(command)


if __name__ == "__main__":
    main()
