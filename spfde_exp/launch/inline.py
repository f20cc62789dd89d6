"""Runs one after another in this process, for debuggers and profilers."""

from collections.abc import Sequence

from spfde_exp.failure import BY_CANCEL, CANCELLED, Stopped
from spfde_exp.launch.signals import StopWatch
from spfde_exp.launch.slots import Slot, check_devices, find_slots
from spfde_exp.launch.sweep import Outcome, RunFailed, Sweep
from spfde_exp.schema import Config
from spfde_exp.store import CANCEL


class Inline:
    """The launcher ``hydra/launcher=inline``. It takes no slots, and waits for no other sweep."""

    name = "inline"

    def slots(self, configs: Sequence[Config]) -> list[Slot]:
        """This process, with all that the machine has."""
        check_devices(configs)
        return find_slots(configs[0].device, 1, 1)

    def launch(self, sweep: Sweep) -> dict[str, Outcome]:
        """Train each run here; a failed or cancelled one does not stop the others."""
        from spfde_exp.run import train

        outcomes: dict[str, Outcome] = {}
        for run in sweep.todo:
            try:
                with StopWatch(run.folder):
                    if run.folder.file(CANCEL).exists():
                        raise Stopped(BY_CANCEL, CANCELLED)
                    outcomes[run.name] = train(run.config, run.overrides, {"sweep": sweep.record.id})
            except Stopped as stopped:
                run.folder.stopped(str(stopped), stopped.failure)
                if stopped.failure != CANCELLED:
                    raise
                outcomes[run.name] = RunFailed(str(stopped))
            except Exception as error:
                outcomes[run.name] = error
        return outcomes
