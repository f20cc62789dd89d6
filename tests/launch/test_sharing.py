"""All sweeps of a machine together use each slot once, and each gets its share."""

import subprocess
import sys
import tempfile
from pathlib import Path

from spfde_exp.launch.sharing import SharedSlots
from spfde_exp.launch.slots import Slot
from spfde_exp.locks import FileLock


def cores(count: int, threads: int = 1) -> list[Slot]:
    return [Slot(None, threads, tuple(f"cpu-{k * threads + part}" for part in range(threads))) for k in range(count)]


def test_a_sweep_alone_has_all_its_slots():
    with SharedSlots("a", cores(3)) as slots:
        slots.want(True)
        taken = [slots.take() for _ in range(4)]
        assert set(taken[:3]) == set(slots.slots)
        assert taken[3] is None
        slots.give_back(taken[1])
        assert slots.take() == taken[1]


def test_two_sweeps_never_use_a_slot_twice():
    with SharedSlots("a", cores(2)) as one, SharedSlots("b", cores(2)) as other:
        one.want(True)
        held = [one.take(), one.take()]
        other.want(True)
        assert other.take() is None  # none is free
        one.give_back(held[0])
        assert one.take() is None  # it has its half already
        assert other.take() == held[0]
        assert other.take() is None
        other.want(False)  # the other has no more runs waiting
        other.give_back(held[0])
        assert one.take() == held[0]


def test_sweeps_on_other_devices_do_not_count():
    gpu = [Slot("0", 4, ("gpu-0",))]
    with SharedSlots("a", cores(2)) as one, SharedSlots("b", gpu) as other:
        one.want(True)
        other.want(True)
        assert one.take() is not None
        assert one.take() is not None
        assert other.take() is not None


def test_a_wide_slot_takes_all_its_cores():
    with SharedSlots("a", cores(1, threads=2)) as wide, SharedSlots("b", cores(2)) as narrow:
        (first,) = [narrow.take()]
        assert wide.take() is None
        narrow.give_back(first)
        slot = wide.take()
        assert slot is not None
        assert narrow.take() is None


def test_packed_runs_share_a_device_and_others_do_not():
    packed = [Slot("0", 1, (f"gpu-0-2-{k}",), shared="gpu-0", packed=2) for k in range(2)]
    with SharedSlots("a", packed) as shared, SharedSlots("b", [Slot("0", 1, ("gpu-0",))]) as alone:
        held = [shared.take(), shared.take()]
        assert None not in held
        assert alone.take() is None
        for slot in held:
            shared.give_back(slot)
        assert alone.take() is not None
        assert shared.take() is None


def test_the_process_of_a_killed_sweep_keeps_its_slot_busy():
    with SharedSlots("a", cores(1)) as slots:
        busy, sharing = slots.busy(slots.slots[0])
        assert sharing is None
        run = FileLock(Path(busy[0]))
        run.take()
        assert slots.take() is None
        run.release()
        assert slots.take() is not None


def test_one_wide_slot_is_not_starved_by_many_narrow_ones():
    with SharedSlots("a", cores(8)) as narrow, SharedSlots("b", cores(1, threads=8)) as wide:
        narrow.want(True)
        held = [narrow.take() for _ in range(8)]
        assert None not in held
        wide.want(True)
        for ends, slot in enumerate(held, start=1):
            assert wide.take() is None
            narrow.give_back(slot)
            assert narrow.take() is None or ends == 8  # it leaves free what the other waits for
        assert wide.take() is not None


def test_a_whole_device_is_not_starved_by_packed_runs():
    packed = [Slot("0", 1, (f"gpu-0-{k}",), shared="gpu-0", packed=4) for k in range(4)]
    with SharedSlots("a", packed) as shared, SharedSlots("b", [Slot("0", 1, ("gpu-0",))]) as alone:
        shared.want(True)
        held = [shared.take() for _ in range(4)]
        alone.want(True)
        assert alone.take() is None
        for slot in held:
            shared.give_back(slot)
            assert shared.take() is None
        slot = alone.take()
        assert slot is not None
        alone.want(False)
        assert shared.take() is None
        alone.give_back(slot)
        assert shared.take() is not None


def test_sweeps_that_pack_differently_load_a_device_no_more_than_the_fuller_one():
    def packed(count: int) -> list[Slot]:
        return [Slot("0", 1, (f"gpu-0-{k}",), shared="gpu-0", packed=count) for k in range(count)]

    with SharedSlots("a", packed(2)) as one, SharedSlots("b", packed(4)) as other:
        taken = [slots.take() for slots in (one, other) for _ in range(4)]
        assert len([slot for slot in taken if slot]) == 4


def test_looking_at_taken_slots_waits_for_none_of_them(monkeypatch):
    with SharedSlots("a", cores(32)) as one, SharedSlots("b", cores(32)) as other:
        held = [one.take() for _ in range(32)]
        assert None not in held
        pauses = []
        monkeypatch.setattr("spfde_exp.locks.time.sleep", pauses.append)
        assert other.take() is None
        assert not any(pauses)


def test_what_a_killed_sweep_left_counts_for_nothing():
    script = (
        "import tempfile, os\n"
        f"tempfile.tempdir = {tempfile.gettempdir()!r}\n"
        "from spfde_exp.launch.sharing import SharedSlots\n"
        "from spfde_exp.launch.slots import Slot\n"
        "slots = SharedSlots('dead', [Slot(None, 1, ('cpu-0',)), Slot(None, 1, ('cpu-1',))]).__enter__()\n"
        "slots.want(True); slots.take(); os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    with SharedSlots("a", cores(2)) as slots:
        slots.want(True)
        assert slots.take() is not None
        assert slots.take() is not None
