"""All sweeps of a machine together use each slot once, and each gets its share."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from spfde_exp.launch.sharing import SharedSlots
from spfde_exp.launch.slots import Slot
from spfde_exp.locks import FileLock, is_locked


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


def test_the_lifeline_ends_with_the_sweep():
    with SharedSlots("a", cores(1)) as slots:
        assert is_locked(slots.lifeline)
        slots.let_go()
        assert not is_locked(slots.lifeline)


def test_what_a_killed_sweep_left_counts_for_nothing():
    script = (
        "import tempfile, os\n"
        f"tempfile.tempdir = {tempfile.gettempdir()!r}\n"
        "from spfde_exp.launch.sharing import SharedSlots\n"
        "from spfde_exp.launch.slots import Slot\n"
        "slots = SharedSlots('dead', [Slot(None, 1, ('cpu-0',)), Slot(None, 1, ('cpu-1',))]).__enter__()\n"
        "slots.want(True); slots.take(); print(slots.lifeline); os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    lifeline = Path(killed.stdout.strip())
    assert killed.returncode == -9
    assert lifeline.exists()
    with SharedSlots("a", cores(2)) as slots:
        slots.want(True)
        assert slots.take() is not None
        assert slots.take() is not None
        assert not lifeline.exists()
        wanted = [json.loads(path.read_text()) for path in lifeline.parent.glob("want-*")]
        assert wanted == [["cpu-0", "cpu-1"]]
