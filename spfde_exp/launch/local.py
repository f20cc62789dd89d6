"""Runs as separate processes on this machine, no more at once than it has slots."""

from collections.abc import Sequence

from spfde_exp.errors import UserError
from spfde_exp.launch.live import LiveTable
from spfde_exp.launch.pool import Pool, Task
from spfde_exp.launch.sharing import SharedSlots
from spfde_exp.launch.slots import Slot, check_devices, find_slots
from spfde_exp.launch.sweep import Outcome, Sweep
from spfde_exp.schema import Config


class Local:
    """The launcher ``hydra/launcher=local``.

    Args:
        slots: devices to use; "auto" takes every GPU, else every core.
        runs_per_device: runs packed on each device, or CPU slot.
        retries: how often a run is tried again in this sweep after a failure that may pass.

    Raises:
        UserError: a value is impossible.
    """

    name = "local"

    def __init__(self, slots: int | str = "auto", runs_per_device: int = 1, retries: int = 0) -> None:
        if not isinstance(retries, int) or retries < 0:
            raise UserError(f"hydra.launcher.retries={retries} is impossible; allowed: 0, 1, 2, ...")
        self.count, self.runs_per_device, self.retries = slots, runs_per_device, retries

    def slots(self, configs: Sequence[Config]) -> list[Slot]:
        """The slots for some runs, which share their `device`."""
        check_devices(configs)
        return find_slots(configs[0].device, self.count, len(configs), self.runs_per_device)

    def launch(self, sweep: Sweep) -> dict[str, Outcome]:
        """Train every run of `sweep.todo`, longest first."""
        outcomes: dict[str, Outcome] = {}
        tasks = [Task(run.folder, run.overrides, run.config.force, self.retries) for run in sweep.todo]
        live = LiveTable.of(sweep, len(sweep.slots))
        with SharedSlots(sweep.record.id, sweep.slots) as slots, live:
            Pool(tasks, slots, sweep.record, outcomes, live.update).run()
        return outcomes
