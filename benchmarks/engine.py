"""A whole training step by the sparse engine, against the dense step written by hand.

python benchmarks/engine.py [--sparsity 0.9,0.95,0.98] [--method static] [--auto] [--turns 9] [--steps 3] [--parts]
                            [--model resnet32] [--width 2] [--batch 32] [--threads 1] [--data DIR]

bare     the hand-written dense step in channels-last, as in benchmarks/step.py, under torch's default settings
dense    what `Trainer.train_epoch` does per step with engine=dense: masks, parameter groups, meters, losses gathered
sparse   the same with engine=sparse; a uniform mask, with `--method static` as sparse as at the end, else as at first
auto     with `--auto`, the same with engine=auto, in a run so long that it tries

They take turns of `--steps` steps on the same batches. With `--parts`, also where the time of the sparse step goes: CPU
time of each part, of PyTorch's profiler, which makes the whole slower.
"""

import argparse
from functools import partial

import torch
from _paired import at_least, clocks, print_table, ratio, take_turns
from _steps import Bare, Batch, Product, batches_of
from _workload import common_options, images, machine, settings, size, trainer_for

from spfde_exp.train.device import exact
from spfde_exp.train.trainer import WATCHED

# Times the bare step's speed, ResNet-32 of width 2.
TARGETS = {"static": {0.9: 2.0, 0.95: 3.0, 0.98: 4.0}, "mest_ems": {0.9: 1.7}}
AUTO_LEAST = 0.98  # of the dense step's speed
LONG = 400  # epochs of a run in which engine=auto tries
CPU = torch.device("cpu")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--sparsity", default=",".join(map(str, TARGETS["static"])))
    parser.add_argument("--method", default="static", help="static or mest_ems")
    parser.add_argument("--auto", action="store_true", help="engine=auto too")
    parser.add_argument("--turns", type=int, default=9, help="at least 6")
    parser.add_argument("--steps", type=int, default=3, help="in a turn")
    parser.add_argument("--parts", action="store_true", help="where the time goes")
    arguments = parser.parse_args()
    rows: list[tuple[str, ...]] = [
        ("sparsity", "of / to", "clock", "median [95 %]", "target", "ms of one step, least", "sparse layers")
    ]
    with exact(arguments.threads, "fp32"):
        title = f"one step of {size(arguments)}; {machine(CPU)}"
        for sparsity in map(float, arguments.sparsity.split(",")):
            rows += measure(sparsity, arguments)
    print_table(title, rows)


def measure(sparsity: float, arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """Lines of one sparsity."""
    data = images(4 * arguments.batch, arguments.data)
    overrides = [*settings(arguments, "sieve=none"), f"method={arguments.method}", f"sparsity={sparsity}"]
    make = partial(trainer_for, dataset=data, device=CPU)
    batches = batches_of(make(overrides))
    steps: dict[str, Bare | Product] = {
        "bare": Bare(make(overrides)),
        "dense": Product(make(overrides)),
        "sparse": Product(make([*overrides, "engine=sparse"])),
    }
    pairs = [("bare", "sparse"), ("dense", "sparse")]
    if arguments.auto:
        pairs.append(("dense", "auto"))
        steps["auto"] = Product(make([*overrides, "engine=auto", f"epochs={LONG}"]))

    def turn(name: str) -> None:
        torch.use_deterministic_algorithms(name != "bare")
        for index in range(arguments.steps):
            steps[name](batches[index % len(batches)])

    times = take_turns({name: partial(turn, name) for name in steps}, arguments.turns, warmup=WATCHED)
    if arguments.parts:
        parts(steps["sparse"], batches)
    rows: list[tuple[str, ...]] = []
    for of, to in pairs:
        for clock, seconds in clocks(times, "cpu").items():
            figure = ratio(seconds, of, to)
            least = " / ".join(f"{1000 * min(seconds[name]) / arguments.steps:.1f}" for name in (of, to))
            target = least_speed(of, to, sparsity, arguments)
            told = at_least(figure.median, target) if target else "none"
            engine = steps[to].trainer.forward.engine
            layers = str(len(engine.network.layers) if engine else 0)
            rows.append((f"{sparsity:g}", f"{of} / {to}", clock, str(figure), told, least, layers))
    return rows


def least_speed(of: str, to: str, sparsity: float, arguments: argparse.Namespace) -> float | None:
    """What is asked of a comparison, if anything."""
    if to == "auto":
        return AUTO_LEAST
    known = of == "bare" and arguments.model == "resnet32" and arguments.width == 2
    return TARGETS.get(arguments.method, {}).get(sparsity) if known else None


def parts(step: Product | Bare, batches: list[Batch]) -> None:
    """Print where the CPU time of `step` goes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for batch in batches:
            step(batch)
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=50))


if __name__ == "__main__":
    main()
