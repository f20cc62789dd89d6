"""Composing many jobs at once equals Hydra's own composition of each."""

from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spfde_exp.cli import one_line
from spfde_exp.config import resolve
from spfde_exp.errors import UserError
from spfde_exp.jobs import Unavailable
from spfde_exp.launch import compose as module
from spfde_exp.launch.compose import compose_jobs
from spfde_exp.launch.sweepfile import expand
from spfde_exp.options import accept_numbers, folder


class Hydra:
    """Hydra's loader over conf/, with folders that come before it, and a count of its compositions."""

    def __init__(self, *before: Path, overrides: tuple[str, ...] = ()) -> None:
        accept_numbers()
        search = create_config_search_path(str(folder("conf")))
        for path in before:
            search.prepend("test", f"file://{path}")
        self.loader = ConfigLoaderImpl(search)
        self.master = self.loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
        self.compositions = 0
        load = self.loader.load_sweep_config

        def counted(*arguments):
            self.compositions += 1
            return load(*arguments)

        self.loader.load_sweep_config = counted  # type: ignore[method-assign]

    def many(self, jobs):
        return compose_jobs(self.loader, self.master, jobs)

    def each(self, jobs):
        return [resolve(self.loader.load_sweep_config(self.master, list(job))) for job in jobs]

    def assert_equal(self, *jobs: list[str]) -> None:
        """Both give the same, be it configurations or an error."""
        try:
            expected = self.each(jobs)
        except Exception as error:
            with pytest.raises(type(error)) as told:
                self.many(jobs)
            assert one_line(told.value) == one_line(error)
        else:
            assert self.many(jobs) == expected


@pytest.fixture(scope="module")
def hydra() -> Hydra:
    return Hydra()


NUMBERS = ["0", "0.0", "0.1", ".15", "0.9", "1e-3", "'0.90'", "0.1234509876"]
OPTIONS = {
    "recipe": ["digits", "cifar10", "cifar100"],
    "model": ["resnet20", "resnet32"],
    "method": ["dense", "static", "mest_em", "mest_ems"],
    "sparsity": ["dense", *NUMBERS],
    "freeze": ["none", "single_shot", *NUMBERS],
    "sieve": ["none", "circular", *NUMBERS],
    "logger": ["none", "wandb"],
    "debug": ["tiny"],
    "+sweep": ["[A8]", "[A10,A8]", "A9"],
}
VALUES = {
    "seed": ["0", "7"],
    "epochs": ["20", "40"],
    "optim.lr": ["0.3", "1", "1e-2"],
    "optim.nesterov": ["true"],
    "dataset.root": ["here", "'a b'", "${oc.env:HOME}", "${runs_dir}/data"],
    "dataset.subset": ["null", "300"],
    "dst.milestones": ["[]", "[5,10]"],
    "logger.tags": ["[a,b]"],
    "sparsity.target": ["0.8"],
    "freeze.t_freeze": ["auto", "10"],
    "runs_dir": ["elsewhere", "r${seed}"],
}
ODD = [
    "+runs_dir=x", "++seed=3", "+typo=1", "~debug", "optim={lr:0.3,momentum:0.8}", "optim=3", "typo=1", "optim.typo=1",
    "seed.typo=1", "dst.milestones.0=3", "epochs=x", "epochs=???", "model=nope", "sparsity=1.5", "sparsity=[0.9,0.8]",
    "recipe=null", "seed=1,2", "method@optim=dense", "sweep=[A8]", "hydra.job.num=3", "seed", "=", "sieve=0.2",
]  # fmt: skip


def words(table: dict[str, list[str]]) -> st.SearchStrategy[str]:
    return st.sampled_from([f"{key}={value}" for key, values in table.items() for value in values])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(words(OPTIONS), words(OPTIONS), words(VALUES)), max_size=6), st.none() | st.sampled_from(ODD))
def test_any_job_equals_hydras_own(hydra, job, odd):
    hydra.assert_equal(job if odd is None else [*job, odd])


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_simple_equals_hydras_own_too(hydra, odd):
    hydra.assert_equal(["sparsity=0.95", "seed=3", odd])


def test_cells_of_sweep_files_equal_hydras_own(hydra):
    hydra.assert_equal(*expand(["+sweep=A8,A9,A10,digits,cifar10_short", "seed=0"], None)[::3])


def test_a_thousand_jobs_take_few_compositions(hydra):
    grid = ["sparsity=range(0.5,0.99,0.05)", "freeze=none,0.1,0.15,0.2,0.25", "sieve=none,0.1,0.15,0.2"]
    jobs = expand([*grid, "seed=0,1,2,3,4"], None)
    hydra.compositions = 0
    configs = hydra.many(jobs)
    assert len(configs) == 1000
    assert hydra.compositions == 4  # with and without freezing, with and without sieving
    assert hydra.each(jobs[::100]) == configs[::100]


def test_jobs_share_no_values(hydra):
    first, second = hydra.many([["seed=1", "dst.milestones=[5]"], ["seed=1", "dst.milestones=[5]"]])
    first.dst.milestones.append(1)
    first.optim.lr = 9.0
    assert second == hydra.each([["seed=1", "dst.milestones=[5]"]])[0]


# -- with files of the user's own


def write(root: Path, name: str, *lines: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n")


NUMBER = ["sparsity=0.93", "freeze=0.12"]


def test_a_recipe_may_replace_the_number(tmp_path):
    write(tmp_path, "recipe/mine.yaml", "# @package _global_", "defaults: [digits]", "sparsity: {target: 0.5}")
    hydra = Hydra(tmp_path)
    hydra.assert_equal(["recipe=mine", *NUMBER], ["recipe=mine", "sparsity=0.91", "seed=1"], ["recipe=mine"])
    assert [config.sparsity.target for config in hydra.many([["recipe=mine", *NUMBER], NUMBER])] == [0.5, 0.93]


def test_a_file_may_stand_for_a_number(tmp_path):
    write(tmp_path, "sparsity/0.93.yaml", "defaults: [unstructured, _self_]", "target: 0.93", "prunable: block_3x3")
    hydra = Hydra(tmp_path)
    hydra.assert_equal(NUMBER, ["sparsity=0.94"])
    assert [config.sparsity.prunable for config in hydra.many([NUMBER, ["sparsity=0.94"]])] == [
        "block_3x3",
        "convs_but_first",
    ]


LINKS = [
    "root: ${oc.env:SPFDE_DATA,data}/${model.name}-${sparsity.target}",
    "root: ${runs_dir}/${seed}",
    "root: ${.name}/${oc.env:NOWHERE,${seed}}",
    "root: ${oc.env:NOWHERE}",
    "root: ${nothing}",
    r"root: \${seed}",
    "root: ${hydra.job.override_dirname}",
    "root: ${oc.decode:${seed}}",
]


@pytest.mark.parametrize("line", LINKS)
def test_keys_that_look_at_others_see_the_jobs_values(tmp_path, line):
    file = (folder("conf") / "dataset" / "digits.yaml").read_text().splitlines()
    write(tmp_path, "dataset/digits.yaml", *(line if text.startswith("root:") else text for text in file))
    hydra = Hydra(tmp_path)
    for job in (["seed=3", *NUMBER], ["runs_dir=x"], ["dataset.root=y", "seed=4"], []):
        hydra.assert_equal(job)


def test_variables_of_the_environment_are_read(monkeypatch):
    monkeypatch.setenv("SPFDE_DATA", "/some/where")
    (config,) = Hydra().many([["seed=1"]])
    assert config.dataset.root == "/some/where"


def test_a_search_path_of_hydras_is_left_to_hydra(tmp_path):
    write(tmp_path, "sparsity/0.93.yaml", "defaults: [unstructured, _self_]", "target: 0.93", "prunable: block_3x3")
    hydra = Hydra(overrides=(f"hydra.searchpath=[file://{tmp_path}]",))
    hydra.assert_equal(NUMBER, ["sparsity=0.94"])


# -- cells that cannot be run


def test_cells_without_their_method_are_named(hydra, monkeypatch):
    monkeypatch.setattr(module, "unavailable", lambda job, _: [word for word in job if word == "method=nope"])
    jobs = [["method=nope", "+sweep=[A8]"], ["method=dense", "+sweep=[A8]"]]
    missing, config = hydra.many(jobs)
    assert missing == Unavailable(("method=nope",))
    assert config.method.name == "dense"


def test_outside_sweep_files_a_missing_method_is_an_error(hydra):
    with pytest.raises(Exception, match="method/nope"):
        hydra.many([["method=nope"]])


def test_the_first_wrong_job_is_told(hydra):
    with pytest.raises(UserError, match=r"optim\.lr=-1\.0"):
        hydra.many([["seed=1"], ["optim.lr=-1"], ["epochs=-3"]])
