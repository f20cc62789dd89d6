"""Tell all about one run: settings, plan, state, result, origin."""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from spfde_exp.config import flatten
from spfde_exp.launch.table import duration, size
from spfde_exp.progress import Reader, RunProgress, trouble
from spfde_exp.selection import add_runs, one_run
from spfde_exp.store import RunFolder
from spfde_exp.verbs.log import newest_log

Facts = dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("signature", metavar="SIG", help="a run, by the beginning of its signature")
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with all that is known")


def run(arguments: argparse.Namespace) -> None:
    """Print what is known of the run."""
    folder, reader = one_run(arguments.runs, arguments.signature), Reader()
    progress = reader.read(folder)
    if arguments.json:
        print(json.dumps(everything(folder, progress, reader), indent=1))
        return
    for name, text in facts(everything(folder, progress, reader)).items():
        print(f"{name:9} {text}")


def everything(folder: RunFolder, progress: RunProgress, reader: Reader) -> dict[str, Any]:
    """All that is known of a run: its progress, as ``status --json`` has it, and the files of its folder."""
    log = newest_log(folder)
    return {
        **asdict(progress),
        "folder": str(folder.path.absolute()),
        "log": str(log.absolute()) if log else None,
        "config": flatten(reader.config(folder)),
        **{name: folder.json(name) for name in ("plan", "meta", "status", "summary")},
    }


def facts(known: Mapping[str, Any]) -> Facts:
    """What is worth a line for people, in order; what is not known yet is left out."""
    lines: Facts = {"run": f"{known['signature']}  {known['settings']}"}
    lines |= _state(known)
    if known["config"]:
        lines |= _settings(known["config"], known["plan"])
    if known["plan"]:
        lines |= _cost((known["plan"].get("realised") or known["plan"])["prediction"])
    if known["summary"]:
        lines |= _result(known["summary"])
    return lines | _origin(known)


def _state(known: Mapping[str, Any]) -> Facts:
    text = f"{known['state']}, epoch {known['epoch']} of {known['epochs']}"
    if known["time_left_s"] is not None:
        text += f", {duration(known['time_left_s'])} left at {known['pace_s']:.3g} s per epoch"
    lines = {"state": text}
    if known["error"]:
        lines["error"] = trouble(known["failure"], known["error"])
    ended = (known["status"] or {}).get("history") or []
    if known["attempt"]:
        past = [f"{e['attempt']} {e['state']}" + (f" ({e['failure']})" if e["failure"] else "") for e in ended]
        lines["attempts"] = f"{known['attempt']}" + (f": {', '.join(past)}" if past else "")
    return lines


def _settings(config: Mapping[str, Any], plan: Mapping[str, Any] | None) -> Facts:
    freeze = [config["freeze.scheme"]]
    sparsity = [config["method.name"], f"target {config['sparsity.target']:g}"]
    if config["freeze.target"]:
        freeze.append(f"target {config['freeze.target']:g}")
    if plan and freeze != ["none"]:
        freeze += _frozen((plan.get("realised") or plan)["freeze"]["blocks"], config["epochs"])
    if plan and plan["sparsity"]["updates"]:
        trained = plan["sparsity"]["trained"]
        sparsity.append(f"trained at {trained[0]:g} to {trained[-1]:g}, {len(plan['sparsity']['updates'])} updates")
    model = config.get("model.target") or f"{config['model.name']} (width {config['model.width']:g})"
    trains = f"{model} on {config['dataset.name']}"
    return {
        "trains": f"{trains}, {config['epochs']} epochs, seed {config['seed']}",
        "sparsity": ", ".join(sparsity),
        "freeze": ", ".join(freeze),
        "sieve": ", ".join([config["sieve.mode"], *_sieved(config, plan)]),
    }


def _sieved(config: Mapping[str, Any], plan: Mapping[str, Any] | None) -> list[str]:
    """What is left out of the training set, as far as it is known."""
    sieve = (plan.get("realised") or plan)["sieve"] if plan else {}
    if config["sieve.mode"] == "two_phase":
        told = f"from epoch {config['sieve.phase1_epochs']} without "
        if sieve.get("removed") is not None:
            return [f"{told}{sieve['removed']} of {sieve['examples']}"]
        if config["sieve.threshold"] is not None:
            return [f"{told}what was learned and forgotten at most {config['sieve.threshold']} times"]
        ratio, count = config["sieve.ratio"], config["sieve.count"]
        return [f"{told}{count} examples" if ratio == 0 else f"{told}{ratio:g} of the examples"]
    if config["sieve.mode"] == "none":
        return []
    told = f"{config['sieve.ratio']:g} of the examples left out"
    if not sieve:
        return [told]
    exchanges = f"{len(sieve['updates'])} exchanges of {sieve['exchanged']}"
    return [told, f"{sieve['removed']} of {sieve['examples']}", exchanges]


def _frozen(blocks: Sequence[Mapping[str, Any]], epochs: int) -> list[str]:
    """What froze when, from the epoch ranges of each block."""
    spans = [block["frozen"] for block in blocks if block["frozen"]]
    if not spans:
        return []
    text, first = f"{len(spans)} of {len(blocks)} blocks", min(ranges[0][0] for ranges in spans)
    if any(len(ranges) > 1 for ranges in spans):
        return [f"{text} in turns from epoch {first}"]
    last, end = max(ranges[0][0] for ranges in spans), spans[0][0][1]
    return [f"{text} from epoch {first} to {last}" + (f", until {end}" if end < epochs else "")]


def _cost(predicted: Mapping[str, Any]) -> Facts:
    planned = "at most" if "flops_reduction_total" in predicted.get("unknown", ()) else "planned"
    average, least = size(predicted["memory_avg_bytes"]), size(predicted["memory_min_bytes"])
    return {
        "FLOPs": f"{predicted['train_flops']:.4g} {planned}, {100 * predicted['flops_reduction_total']:.1f} % saved "
        f"({100 * predicted['flops_reduction_freeze']:.2f} % by freezing, flat; "
        f"{100 * predicted['flops_reduction_sieve']:.2f} % by sieving); dense {predicted['train_flops_dense']:.4g}",
        "memory": f"{average} on average, {least} after the last freeze",
    }


def _result(summary: Mapping[str, Any]) -> Facts:
    return {
        "accuracy": f"{summary['test_acc']:.2f} % in the last epoch (best {summary['best_test_acc']:.2f} %)",
        "executed": f"{summary['train_flops']:.4g} FLOPs",
        "time": f"{duration(summary['train_time_s'])}, {summary['epoch_time_mean_s']:.3g} s per epoch",
    }


def code_text(meta: Mapping[str, Any]) -> str:
    """The version of the code that trained a run, from its meta.json."""
    git = meta.get("git") or {}
    return str(git.get("commit") or "no commit")[:12] + (" with changes" if git.get("dirty") else "")


def _origin(known: Mapping[str, Any]) -> Facts:
    meta, lines = known["meta"] or {}, {}
    if meta:
        versions = meta["versions"]
        lines["code"] = f"{code_text(meta)}, torch {versions.get('torch')}, Python {versions.get('python')}"
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(meta["started"]))
        lines["trained"] = f"{started} on {meta['host']}, {meta['device_name']}, {meta['threads']} threads"
    elif known["host"]:
        lines["host"] = str(known["host"])
    if known["slurm_job"]:
        lines["Slurm job"] = known["slurm_job"]
    if known["sweep"] or known["sweep_files"]:
        lines["sweep"] = " ".join(filter(None, (",".join(known["sweep_files"]), known["sweep"])))
    if known["log"]:
        lines["log"] = known["log"]
    return lines | {"folder": known["folder"]}
