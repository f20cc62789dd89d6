"""What Hydra discovers: config sources, launchers and the sweeper. The work is done in spfde_exp."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from spfde_exp.options import OTHER_LAUNCHER, OptionSearchPath, OptionSource

if TYPE_CHECKING:
    from spfde_exp.launch.sweep import Launcher as Engine

__all__ = ["InlineLauncher", "LocalLauncher", "OptionSearchPath", "OptionSource", "SlurmLauncher", "SpfdeSweeper"]


class _SweepLauncher(Launcher):
    """Composes every job, then hands all of them to `spfde_exp.launch.sweep`."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    @abstractmethod
    def engine(self) -> "Engine":
        """What trains the runs."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from spfde_exp.launch.compose import compose_jobs
        from spfde_exp.launch.sweep import run_sweep

        configs = compose_jobs(self.context.config_loader, self.config, job_overrides)
        jobs = [(list(overrides), config) for overrides, config in zip(job_overrides, configs, strict=True)]
        answers = []
        for (overrides, _), outcome in zip(jobs, run_sweep(jobs, self.engine()), strict=True):
            answer = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
            answer.return_value = outcome
            if isinstance(outcome, Exception):
                answer.status = JobStatus.FAILED
            answers.append(answer)
        return answers


class LocalLauncher(_SweepLauncher):
    """Runs as separate processes on this machine, no more at once than it has slots."""

    def engine(self) -> "Engine":
        from spfde_exp.launch.local import Local

        return Local(**self.options)


class SlurmLauncher(_SweepLauncher):
    """Runs as job arrays on a Slurm cluster."""

    def engine(self) -> "Engine":
        from omegaconf import OmegaConf

        from spfde_exp.launch.slurm import Slurm

        options = OmegaConf.to_container(OmegaConf.create(self.options), resolve=True)
        assert isinstance(options, dict)
        return Slurm(**{str(name): value for name, value in options.items()})


class InlineLauncher(_SweepLauncher):
    """Runs one after another in this process, for debuggers and profilers."""

    def engine(self) -> "Engine":
        from spfde_exp.launch.inline import Inline

        return Inline()


class SpfdeSweeper(Sweeper):
    """The grid of the command line, over the cells of the sweep files named by `+sweep=`.

    `params` is Hydra's usual place for a sweep in a config file, key -> values; the command line replaces them.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        from spfde_exp.errors import UserError

        self.context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(self.launcher, _SweepLauncher):
            raise UserError(
                f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']} {OTHER_LAUNCHER}; "
                "with hydra/sweeper=basic, Hydra's own launchers work too"
            )

    def sweep(self, arguments: list[str]) -> Any:
        from spfde_exp.launch.sweep import raise_if_failed
        from spfde_exp.launch.sweepfile import expand

        assert self.launcher is not None
        fixed = [f"{key}={value}" for key, value in self.params.items()]
        answers = self.launcher.launch(expand([*fixed, *arguments], self.context.config_loader), initial_job_idx=0)
        raise_if_failed([answer._return_value for answer in answers])
        return answers
