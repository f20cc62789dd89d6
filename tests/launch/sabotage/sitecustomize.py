"""Put on PYTHONPATH, it makes runs fail as SPFDE_TEST_SABOTAGE says: {seed: nan | memory | crash | die | hang}."""

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


class Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        sabotage(module)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "spfde_exp.train.trainer":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(spec.loader)
        return spec


if HOW:
    sys.meta_path.insert(0, Finder())
