"""Runs one after another in this process, for debuggers and profilers."""

from collections.abc import Sequence

from spfde_exp.launch.slots import Slot, find_slots
from spfde_exp.launch.sweep import Outcome, Sweep
from spfde_exp.schema import Config


class Inline:
    """The launcher ``hydra/launcher=inline``."""

    name = "inline"

    def slots(self, configs: Sequence[Config]) -> list[Slot]:
        """This process, with all that the machine has."""
        from spfde_exp.train.device import choose_device

        for config in configs:
            choose_device(config.device)
        return find_slots(configs[0].device, 1, 1)

    def launch(self, sweep: Sweep) -> dict[str, Outcome]:
        """Train each run here; a failed one does not stop the others."""
        from spfde_exp.run import train

        outcomes: dict[str, Outcome] = {}
        for run in sweep.todo:
            try:
                outcomes[run.name] = train(run.config, run.overrides, {"sweep": sweep.record.id})
            except Exception as error:
                outcomes[run.name] = error
        sweep.record.close()
        return outcomes
