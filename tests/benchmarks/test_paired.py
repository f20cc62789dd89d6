"""Intervals of paired ratios against the binomial table, and figures against ones known beforehand."""

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def paired() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_paired", FOLDER / "_paired.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_paired"] = module
    spec.loader.exec_module(module)
    return module


# Ranks (from 1) of the 95 % interval of a median, from the tables in textbooks on the sign test.
@pytest.mark.parametrize(
    ("count", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (15, 4, 12), (20, 6, 15), (25, 8, 18)]
)
def test_interval_is_that_of_order_statistics(paired: ModuleType, count: int, low: int, high: int) -> None:
    times = {"a": [float(value) for value in range(count, 0, -1)], "b": [1.0] * count}
    figure = paired.ratio(times, "a", "b")
    assert (figure.median, figure.low, figure.high, figure.turns) == ((count + 1) / 2, low, high, count)


def test_too_few_turns_have_no_interval(paired: ModuleType) -> None:
    with pytest.raises(ValueError, match="5 turns are too few"):
        paired.ratio({"a": [1.0] * 5, "b": [1.0] * 5}, "a", "b")


def test_a_drifting_machine_does_not_move_the_ratio(paired: ModuleType) -> None:
    slowness = [1.0, 2.0, 5.0, 9.0, 3.0, 7.0, 4.0]
    times = {"a": [3 * factor for factor in slowness], "b": [2 * factor for factor in slowness]}
    figure = paired.ratio(times, "a", "b")
    assert figure.low == figure.median == figure.high == 1.5


def test_variants_take_turns_and_warmup_does_not_count(paired: ModuleType) -> None:
    calls: list[str] = []
    times = paired.take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=3, warmup=2)
    assert calls == ["a", "b"] * 5
    assert {name: len(values) for name, values in times.wall.items()} == {"a": 3, "b": 3}
    assert {name: len(values) for name, values in times.cpu.items()} == {"a": 3, "b": 3}


def test_cpu_time_leaves_out_waiting(paired: ModuleType) -> None:
    times = paired.take_turns({"sleep": lambda: time.sleep(0.05)}, turns=1, warmup=0)
    assert times.wall["sleep"][0] >= 0.05
    assert times.cpu["sleep"][0] < 0.04


@pytest.mark.parametrize(("figure", "text"), [(1.05, "<= 1.05: met"), (1.0501, "<= 1.05: MISSED")])
def test_verdict(paired: ModuleType, figure: float, text: str) -> None:
    assert paired.verdict(figure, 1.05) == text


def test_shuffled_turns_are_whole_and_in_different_orders(paired: ModuleType) -> None:
    calls: list[str] = []
    variants = {name: (lambda name=name: calls.append(name)) for name in "abcd"}
    times = paired.take_shuffled(variants, turns=20, warmup=1)
    turns = ["".join(calls[start : start + 4]) for start in range(0, len(calls), 4)]
    assert {"".join(sorted(turn)) for turn in turns} == {"abcd"}
    assert len(set(turns[1:])) > 10
    assert {name: len(values) for name, values in times.wall.items()} == dict.fromkeys("abcd", 20)


@pytest.mark.parametrize("whole", [6, 7])
def test_an_interrupt_leaves_the_whole_turns(paired: ModuleType, whole: int) -> None:
    calls = 0

    def interrupted() -> None:
        nonlocal calls
        calls += 1
        if calls > whole:
            raise KeyboardInterrupt

    times = paired.take_shuffled({"a": lambda: None, "b": interrupted}, turns=20, warmup=0)
    assert {name: len(values) for name, values in times.wall.items()} == {"a": whole, "b": whole}


def test_an_interrupt_before_there_is_an_interval_ends_it(paired: ModuleType) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paired.take_shuffled({"a": interrupted}, turns=20, warmup=0)


def test_interval_of_figures(paired: ModuleType) -> None:
    assert paired.interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (3.5, 1.0, 6.0, 6)


@pytest.mark.parametrize(("figure", "text"), [(1.0, ">= 1: met"), (0.999, ">= 1: MISSED")])
def test_what_must_be_reached(paired: ModuleType, figure: float, text: str) -> None:
    assert paired.at_least(figure, 1.0) == text
