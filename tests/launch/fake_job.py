"""What a sweep's process does instead of training; without torch, which takes seconds to load."""

import fcntl
import json
import os
import time
from pathlib import Path

from spfde_exp.launch.job import Order


def fake_job(order: Order) -> float:
    """Instead of training: what the process was given, and when it worked; the first ones wait for each other."""
    folder, held = Path(order.run_dir), []
    for name in order.busy:
        held.append(open(name, "a"))  # noqa: SIM115, as long as the process
        fcntl.flock(held[-1], fcntl.LOCK_EX)
    begin = time.time()
    (folder / "begun").touch()
    while len(list(folder.parent.glob("*/begun"))) < int(os.environ["SPFDE_TEST_AT_ONCE"]) and time.time() < begin + 60:
        time.sleep(0.02)
    made = {"gpu": order.gpu, "threads": order.threads, "packed": order.runs_per_device, "span": [begin, time.time()]}
    shown = dict.fromkeys(("train_flops", "flops_reduction_total", "memory_avg_bytes", "train_time_s"), 1)
    (folder / "summary.json").write_text(json.dumps({"test_acc": 1.0, **made, **shown, "env": dict(os.environ)}))
    return 1.0
