"""One run, from a resolved configuration to its summary (SpFDE Algorithm 1)."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from spfde_exp.claim import Claim, Taken
from spfde_exp.data import Dataset, ImageSet, load
from spfde_exp.errors import UserError
from spfde_exp.failure import NanLoss
from spfde_exp.files import writable_dir
from spfde_exp.hooks.run_hooks import RunHooks
from spfde_exp.lineage import parent, to_train
from spfde_exp.plan import RunPlan, build_model, make_plan
from spfde_exp.provenance import code_version, environment
from spfde_exp.schema import Config
from spfde_exp.store import AlreadyDone, RunFolder, objective
from spfde_exp.track.console import Progress
from spfde_exp.track.wandb_sink import WandbSink
from spfde_exp.train.checkpoint import load_checkpoint, save, save_checkpoint
from spfde_exp.train.device import check_compiler, check_engine, choose_device, choose_threads, exact
from spfde_exp.train.trainer import Trainer

log = logging.getLogger(__name__)
OTHERS_S = 2.0  # between two looks at a run that another process trains


def load_data(config: Config) -> Dataset | ImageSet:
    """The data that a run is to see, in memory on the CPU, or as the names of its files.

    Raises:
        UserError: it is absent or damaged, or its subset or hold-out is impossible.
    """
    data = config.dataset
    return load(
        data.name,
        data.root,
        subset=data.subset,
        val_fraction=data.val_fraction,
        test_subset=data.test_subset,
        split_seed=data.split_seed,
        folder=data.folder,
        image_size=data.image_size,
    )


def train(config: Config, overrides: Sequence[str] = (), launched: Mapping[str, Any] | None = None) -> float:
    """Train one run, or go on where it was interrupted; a finished one is left alone unless `config.force`.

    Args:
        config: a resolved configuration.
        overrides: what the user asked for, kept in meta.json.
        launched: how a sweep started it, for meta.json.

    Returns:
        Accuracy in percent of the last epoch: on the test set, or on the hold-out where there is one.

    Raises:
        UserError: bad input, told before anything is written; a run that another process trains (`Taken`), or that
            cannot go on.
    """
    folder = RunFolder.of(config)
    folder.config()  # a folder of a newer version is refused
    if (summary := folder.summary()) is not None and not config.force:
        log.info("run %s is done: test accuracy %.2f %%", folder.signature, summary["test_acc"])
        return objective(summary)
    device, threads = choose_device(config.device), choose_threads(config.threads)
    if config.compile:
        check_compiler(device)
    check_engine(config.engine, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what asks for the current device gets this one
    logger = config.logger
    group = logger.group or (",".join(config.sweep) if config.sweep else None)
    tags = dict.fromkeys([*logger.tags, *(config.sweep or [])])
    sink = WandbSink(folder.path, logger.mode, logger.project, logger.entity, group, tuple(tags), logger.timeout_s)
    with exact(threads, config.precision):
        torch.manual_seed(config.seed)
        model = build_model(config)
        plan = make_plan(config, model)
        dataset = load_data(config)
        if not config.force:
            load_checkpoint(folder)  # refused before anything is written
        writable_dir(Path(config.runs_dir))
        try:
            slurm_job = (launched or {}).get("slurm_job")
            with folder.owned(again=config.force, slurm_job=slurm_job) as claim:
                if config.force:
                    folder.clear()
                trainer = Trainer(config, plan, model, dataset.to(device), device)
                hooks = RunHooks(folder, trainer, dataset)
                with_what = {
                    "device": str(device),
                    "threads": threads,
                    "engine": config.engine,
                    "data_checksum": dataset.checksum,
                }
                first = _resume(folder, trainer, with_what)
                if first is None:
                    first = _begin(folder, trainer, config, overrides, launched)
                hooks.resume(first)
                meta = {"overrides": list(overrides), "runs_per_device": 1, **(launched or {}), **with_what}
                _describe(folder, config, plan, meta)
                summary = _train_owned(folder, config, trainer, hooks, first, sink, claim)
        except AlreadyDone as done:  # somebody else trained it while this process was starting
            summary = done.summary
    return objective(summary)


def _train_owned(
    folder: RunFolder, config: Config, trainer: Trainer, hooks: RunHooks, first: int, sink: WandbSink, claim: Claim
) -> dict[str, Any]:
    sink.start()
    try:
        _train_epochs(folder, config, trainer, hooks, first, claim)
        hooks.finish()
        save(folder, "model.pt", {"model": trainer.model.state_dict(), "masks": trainer.masks.state_dict()})
        realised = trainer.plan.realised(folder.metrics(), trainer.kept())
        if trainer.plan.unknown:
            folder.write_json("plan", (folder.json("plan") or {}) | {"realised": realised.to_dict()})
        summary = _summary(folder, trainer, config, realised)
        folder.write_json("meta", (folder.json("meta") or {}) | {"finished": time.time()})
        folder.write_json("summary", summary)
    except (KeyboardInterrupt, SystemExit):
        sink.abandon()  # quickly; the attempt that goes on mirrors the whole history
        raise
    except BaseException:
        sink.finish()
        raise
    sink.finish()
    return summary


def _train_epochs(
    folder: RunFolder, config: Config, trainer: Trainer, hooks: RunHooks, first: int, claim: Claim
) -> None:
    epochs = trainer.plan.epochs
    with Progress(folder.signature, epochs, first) as progress:
        for epoch in range(first, epochs):
            lr = trainer.start_epoch(epoch)  # freeze blocks; prune and grow the others
            row = {"epoch": epoch, "lr": lr} | trainer.train_epoch(epoch)  # train, then sieve
            if not math.isfinite(row["train_loss"]):
                raise NanLoss(
                    f"the loss of run {folder.signature} became {row['train_loss']} in epoch {epoch}; "
                    "lower optim.lr, or look at the data"
                )
            row |= _evaluate(trainer, config)
            if not claim.held():
                raise UserError(
                    f"run {folder.signature} was taken over: this process gave no sign of life for too long"
                )
            hooks.after_epoch(epoch)
            folder.append_metrics(row)
            if (epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == epochs:
                save_checkpoint(folder, trainer.state_dict(epoch + 1))
            progress.epoch(row)


def _begin(
    folder: RunFolder, trainer: Trainer, config: Config, overrides: Sequence[str], launched: Mapping[str, Any] | None
) -> int:
    folder.truncate_metrics(0)
    flops = 0
    if (source := parent(config)) is not None:
        words = [word for word in overrides if not word.startswith(("sparsity=", "sparsity.target="))]
        for earlier in to_train(config):
            log.info("run %s starts from that at sparsity=%g", folder.signature, earlier.sparsity.target)
            with torch.random.fork_rng([trainer.device] if trainer.device.type == "cuda" else []):
                _train_level(earlier, [*words, f"sparsity={earlier.sparsity.target}"], launched)
        weights, flops = _outcome(RunFolder.of(source))
        trainer.method.inherit({layer: weights[f"{layer}.weight"] for layer in trainer.masks.kept})
    trainer.begin(flops)
    return 0


def _train_level(config: Config, overrides: Sequence[str], launched: Mapping[str, Any] | None) -> None:
    """Train a run that another one starts from, or wait while another process does."""
    folder = RunFolder.of(config)
    while folder.summary() is None:
        if folder.state() != "running":
            with suppress(Taken):
                train(config, overrides, launched)
                break
        time.sleep(OTHERS_S)


def _outcome(folder: RunFolder) -> tuple[dict[str, torch.Tensor], int]:
    """Final weights of a run that is done, and the FLOPs that it took."""
    summary = folder.summary()
    if summary is None or not folder.file("model.pt").exists():
        raise UserError(
            f"the weights of run {folder.signature}, which this one starts from, are gone: train it again with "
            f"`python -m spfde_exp.runs rerun {folder.signature}`, or delete its folder"
        )
    model = torch.load(folder.file("model.pt"), map_location="cpu", weights_only=True)["model"]
    return model, int(summary["train_flops"])


def _resume(folder: RunFolder, trainer: Trainer, with_what: Mapping[str, Any]) -> int | None:
    """The epoch to go on with; None where there is no checkpoint."""
    state = load_checkpoint(folder)
    if state is None:
        return None
    trainer.load_state_dict(state)
    first = int(state["epoch"])
    if [row["epoch"] for row in folder.metrics()[:first]] != list(range(first)):
        raise UserError(
            f"{folder.file('metrics.jsonl')} has lost epochs that the checkpoint has seen; "
            "train this run again with force=true"
        )
    folder.truncate_metrics(first)
    log.info("run %s goes on at epoch %d", folder.signature, first)
    before = folder.json("meta") or {}
    for what, now in with_what.items():
        if what in before and str(before[what]).split(":")[0] != str(now).split(":")[0]:  # cuda:1 is as good as cuda:0
            text = "run %s began with %s %s, now %s: its bits may differ"
            log.warning(text, folder.signature, what, before[what], now)
    return first


def _describe(folder: RunFolder, config: Config, plan: RunPlan, more: Mapping[str, Any]) -> None:
    device = torch.device(more["device"])
    meta = {
        "signature": folder.signature,
        "git": code_version(),
        **environment(),
        **more,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "started": (folder.json("meta") or {}).get("started", time.time()),
    }
    folder.write_config(asdict(replace(config, force=False)))
    folder.write_json("plan", plan.to_dict())
    folder.write_json("meta", meta)


def _evaluate(trainer: Trainer, config: Config) -> dict[str, float]:
    start = time.perf_counter()
    answer = trainer.evaluate("test")
    if config.dataset.val_fraction:
        answer |= trainer.evaluate("val")
    return answer | {"eval_time_s": time.perf_counter() - start}


def _summary(folder: RunFolder, trainer: Trainer, config: Config, realised: RunPlan) -> dict[str, Any]:
    rows, counter = folder.metrics(), trainer.sieve.counter
    last = rows[-1]
    answer = {
        "signature": folder.signature,
        "seed": config.seed,
        "test_acc": last["test_acc"],
        "best_test_acc": max(row["test_acc"] for row in rows),
        "epochs": len(rows),
        "steps": sum(math.ceil(row["train_examples"] / config.optim.batch_size) for row in rows),
        **realised.prediction(),
        "sparsity": trainer.masks.sparsity,
        "train_flops": trainer.setup_flops + sum(row["epoch_flops"] for row in rows),
        "setup_flops": trainer.setup_flops,
        "memory_peak_measured_bytes": max(row["memory_peak_bytes"] or 0 for row in rows),
        "epoch_time_mean_s": sum(row["epoch_time_s"] for row in rows) / len(rows),
        "train_time_s": sum(row["epoch_time_s"] for row in rows),
        "forgetting_events": counter.forgetting_events,
        "unforgettable": counter.unforgettable,
    }
    if "val_acc" in last:
        answer["val_acc"] = last["val_acc"]
    return answer
