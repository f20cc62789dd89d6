"""How many runs at once, and what each may use."""

import pytest

from spfde_exp.errors import UserError
from spfde_exp.launch import slots as module
from spfde_exp.launch.slots import Slot, find_slots


@pytest.fixture
def machine(monkeypatch):
    def make(cores: int, gpus: str) -> None:
        monkeypatch.setattr(module, "core_ids", lambda: list(range(cores)))
        monkeypatch.setattr(module, "gpu_count", lambda: len(gpus.split(",")) if gpus else 0)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)

    return make


@pytest.mark.parametrize(
    ("cores", "count", "runs", "expected"),
    [
        (8, "auto", 100, 8 * [1]),
        (8, "auto", 3, 3 * [2]),
        (8, 2, 100, 2 * [4]),
        (2, 4, 100, 4 * [1]),
        (1, "auto", 1, [1]),
    ],
)
def test_cpu_slots_divide_the_threads(machine, cores, count, runs, expected):
    machine(cores, "")
    slots = find_slots("auto", count, runs)
    assert [slot.threads for slot in slots] == expected
    assert all(slot.gpu is None for slot in slots)
    parts = [part for slot in slots for part in slot.parts]
    assert len(set(parts)) == len(parts) == sum(expected)  # as many cores as threads, none twice


def test_each_gpu_slot_sees_its_own_device(machine):
    machine(16, "3,5")
    assert find_slots("auto", "auto", 10) == [Slot("3", 8, ("gpu-3",)), Slot("5", 8, ("gpu-5",))]
    assert find_slots("cuda", "auto", 1) == [Slot("3", 16, ("gpu-3",))]
    assert [slot.gpu for slot in find_slots("cpu", "auto", 10)] == [None] * 10


def test_packed_runs_are_dealt_over_the_gpus_first(machine):
    machine(16, "3,5")
    slots = find_slots("auto", "auto", 3, runs_per_device=4)
    assert [(slot.gpu, slot.threads, slot.shared, slot.packed) for slot in slots] == [
        ("3", 5, "gpu-3", 4),
        ("5", 5, "gpu-5", 4),
        ("3", 5, "gpu-3", 4),
    ]
    assert len({slot.parts for slot in slots}) == 3
    assert len(find_slots("auto", "auto", 100, runs_per_device=4)) == 8


def test_packed_runs_on_the_cpu_divide_the_threads_further(machine):
    machine(8, "")
    assert [slot.threads for slot in find_slots("auto", 2, 100, runs_per_device=2)] == [2] * 4


def test_more_slots_than_gpus_are_refused(machine):
    machine(16, "0")
    with pytest.raises(UserError, match="more than the 1 GPUs"):
        find_slots("auto", 2, 10)


@pytest.mark.parametrize("count", [0, -1, "many", 1.5])
def test_impossible_slots_are_refused(machine, count):
    machine(2, "")
    with pytest.raises(UserError, match=r"hydra\.launcher\.slots"):
        find_slots("auto", count, 2)


@pytest.mark.parametrize("count", [0, True, 1.5, "all"])
def test_impossible_packing_is_refused(machine, count):
    machine(2, "")
    with pytest.raises(UserError, match=r"hydra\.launcher\.runs_per_device"):
        find_slots("auto", "auto", 2, count)


def test_a_named_gpu_is_the_only_slot(machine):
    machine(16, "3,5")
    assert find_slots("cuda:1", "auto", 10) == [Slot("5", 16, ("gpu-5",))]


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles", "0"])
def test_names_of_gpus_that_are_not_there_give_cpu_slots(monkeypatch, visible):
    monkeypatch.setattr(module, "core_ids", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(module, "gpu_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [(slot.gpu, slot.threads) for slot in find_slots("auto", "auto", 9)] == [(None, 1)] * 4
