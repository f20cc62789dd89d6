"""Runs one after another in this process, for debuggers and profilers."""

from collections.abc import Sequence

from spfde_exp.launch.sweep import Outcome, Run, Sweep


class Inline:
    """The launcher ``hydra/launcher=inline``."""

    name = "inline"

    def prepare(self, runs: Sequence[Run]) -> None:
        """Any device that there is will do."""
        from spfde_exp.train.device import choose_device

        for run in runs:
            choose_device(run.config.device)

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
