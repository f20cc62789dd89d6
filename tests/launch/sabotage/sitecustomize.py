"""Put on PYTHONPATH, it makes runs fail as SPFDE_TEST_SABOTAGE says, by seed.

How: nan, memory, crash, die or hang in the second epoch, or "die at the end".
"""

import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import time

HOW = json.loads(os.environ.get("SPFDE_TEST_SABOTAGE", "{}"))


def sabotage(module) -> None:
    train_epoch = module.Trainer.train_epoch

    def sabotaged(self, epoch):
        how = HOW.get(str(self.config.seed)) if epoch == 1 else None
        if how == "memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if how == "crash":
            raise ZeroDivisionError("division by zero")
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hang":
            time.sleep(600)
        row = train_epoch(self, epoch)
        return row | {"train_loss": float("nan")} if how == "nan" else row

    module.Trainer.train_epoch = sabotaged


def sabotage_the_end(module) -> None:
    finish = module.WandbSink.finish

    def sabotaged(self):
        summary = self._run_dir / "summary.json"
        if summary.exists() and HOW.get(str(json.loads(summary.read_text())["seed"])) == "die at the end":
            os.kill(os.getpid(), signal.SIGKILL)
        return finish(self)

    module.WandbSink.finish = sabotaged


SABOTAGE = {"spfde_exp.train.trainer": sabotage, "spfde_exp.track.wandb_sink": sabotage_the_end}


class Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        SABOTAGE[module.__name__](module)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in SABOTAGE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(spec.loader)
        return spec


if HOW:
    sys.meta_path.insert(0, Finder())
