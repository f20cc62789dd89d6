"""The command line: bad input is one line and leaves nothing behind; dry runs start nothing."""

import json
import logging
import sys
from pathlib import Path

import pytest
import yaml

from spfde_exp import cli
from spfde_exp.config import compose, signature
from spfde_exp.store import RunFolder


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Run the command line in this process, in an empty folder; returns exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["spfde-exp", *arguments])
        logging.getLogger().handlers.clear()
        try:
            cli.main()
            status = 0
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


BAD = [
    ("sparsity=1.0", "sparsity takes a number from 0 up to, not including, 1"),
    ("sparsity=-0.1", "sparsity=-0.1 is impossible"),
    ("sparsity=abc", "sparsity=abc is unknown; allowed: a number from 0 up to, not including, 1, or one of: dense"),
    ("freeze=0.9", "the largest reachable is 44.91 %"),
    ("sieve=1", "sieve=1 is impossible"),
    ("foo=1", "unknown key 'foo'"),
    ("epoch=1", "did you mean epochs?"),
    ("+foo=1", "unknown key 'foo'"),
    ("optim.foo=1", "unknown key 'optim.foo'"),
    ("sieve.count=5", "sieve.count is not read with the sieve= of this run"),
    ("recipe=nope", "recipe=nope is unknown; allowed: cifar10, cifar100, digits, grasp_cifar10, "),
    ("method=nope", "method=nope is unknown; allowed: deepr, dense, dsr, grasp, lth, mest, mest_em, mest_ems, rigl, "),
    ("sparsity=0.9,0.95", "add -m to run them all"),
    ("+sweep=A8", "add -m to run them all"),
    ("sweep=A8", "sweep= needs a plus sign: write +sweep=A8, after -m"),
    ("+sweep=", "+sweep= is unknown; allowed: A1, "),
    ("hydra/launcher=nope", "hydra/launcher=nope is unknown; allowed: inline, local, slurm"),
    ("sparsity=0.999", "choose a lower sparsity, a finer sparsity.scheme or a wider model"),
    ("device=cuda:99", "use device=cpu"),
    ("dataset.subset=1500", "more than the 1437 training examples"),
    ("epochs=x", "epochs=x is not a whole number"),
    (
        "dataset.name=foo",
        "dataset=foo is unknown; allowed: digits, mnist, fashion_mnist, kmnist, cifar10, ",
    ),
    ("optim={nesterov:true,momentum:0}", "optim.nesterov=true needs momentum"),
    ("seed=99999999999999999999", "below 2^63"),
    ("runs_dir=/proc/nowhere", "runs_dir=/proc/nowhere cannot be written"),
]


@pytest.mark.parametrize(("argument", "message"), BAD)
def test_bad_input_is_one_line_and_writes_nothing(command, tmp_path, argument, message):
    status, out, err = command(argument)
    assert status == 1
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argument", ["sparsity=0.9,1.5", "freeze=0.1,0.9", "+sweep=nope", "sparsity=0.9,0.999", "dataset.subset=5"]
)
def test_one_bad_cell_stops_a_sweep_before_it_starts(command, tmp_path, argument):
    status, _, err = command("-m", argument)
    assert (status, err.count("\n"), list(tmp_path.iterdir())) == (1, 1, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep=A8"], "sweep= needs a plus sign: write +sweep=A8, after -m"),
        (["+sweep=A8", "cell=3"], "cell= needs a plus sign: write +sweep=A8 +cell=12, after -m"),
        (["+sweep="], "+sweep= is unknown; allowed: A1, "),
        (["hydra/launcher=basic"], "hydra/launcher=basic knows no run folders; allowed: inline, local, slurm"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_told_in_one_line(command, tmp_path, arguments, message):
    status, out, err = command("-m", *arguments)
    assert (status, out, err.count("\n"), list(tmp_path.iterdir())) == (1, "", 1, [])
    assert message in err


def test_missing_data_names_folder_and_files(command, tmp_path, monkeypatch):
    import torchvision.datasets.cifar

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", no_network)
    status, _, err = command("recipe=cifar100", "dataset.root=absent", "model=resnet20", "freeze=none")
    assert status == 1
    assert err.count("\n") == 1
    assert "absent/cifar-100-python" in err
    for name in ("train", "test", "meta", "python -m spfde_exp.data cifar100 --to"):
        assert name in err
    assert list(tmp_path.iterdir()) == []


def test_full_error_shows_the_traceback(command, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="sparsity/abc"):
        command("sparsity=abc")


def test_a_folder_of_a_newer_version_is_refused(command, tmp_path):
    folder = RunFolder(tmp_path / "runs" / signature(compose()))
    folder.path.mkdir(parents=True)
    folder.file("config.yaml").write_text(yaml.safe_dump({"schema_version": 99}))
    status, _, err = command()
    assert status == 1
    assert "schema version 99" in err
    assert [path.name for path in folder.path.iterdir()] == ["config.yaml"]


def test_dry_run_prints_a_table_and_starts_nothing(command, tmp_path):
    status, out, _ = command("-m", "sparsity=0.9,0.95", "freeze=0.15,0.2", "dry_run=true")
    assert status == 0
    assert "4 runs" in out
    assert "4 runs: 4 new" in out
    assert out.count("│ new ") == 4
    assert list(tmp_path.iterdir()) == []


def test_dry_run_json_has_the_keys_of_the_prediction(command):
    status, out, _ = command("-m", "seed=0,1", "dry_run=json")
    assert status == 0
    first, second = (json.loads(line) for line in out.splitlines())
    assert first["signature"] != second["signature"]
    assert first["train_flops"] == second["train_flops"] > 0
    assert {"train_flops_paper", "flops_reduction_total", "memory_avg_bytes", "state"} <= set(first)


PAPER = [
    (["method=static", "sparsity=0.9", "freeze=none", "sieve=none"], 1.32e15),
    (["method=static", "sparsity=0.95", "freeze=none", "sieve=none"], 0.66e15),
    (["method=static", "sparsity=0.98", "freeze=none", "sieve=none"], 0.26e15),
    (["freeze=none", "sieve=none"], 1.757e15),
    (["freeze=0.1", "sieve=0.1"], 1.42e15),
    (["freeze=0.15", "sieve=0.15"], 1.27e15),
    (["freeze=0.2", "sieve=0.2"], 1.12e15),
]


@pytest.mark.parametrize(("overrides", "printed"), PAPER)
def test_dry_run_reproduces_the_printed_flops(command, overrides, printed):
    _, out, _ = command("recipe=cifar100", "dry_run=json", *overrides)
    digits = 4 if printed == 1.757e15 else 3 if printed > 1e15 else 2
    assert float(f"{json.loads(out)['train_flops_paper']:.{digits - 1}e}") == pytest.approx(printed)


def test_configuration_is_printed_as_yaml(command):
    _, out, _ = command("--cfg", "job", "sparsity=0.93")
    assert yaml.safe_load(out)["sparsity"]["target"] == 0.93


def test_help_names_groups_and_examples(command):
    _, out, _ = command("--help")
    for text in ("python -m spfde_exp -m sparsity=0.9,0.95,0.98 freeze=0.15,0.2", "recipe:", "sieve:", "sweep: A1"):
        assert text in out


def test_console_script_and_module_are_the_same_command():
    setup = (Path(cli.__file__).parent.parent / "setup.cfg").read_text()
    assert "spfde-exp = spfde_exp.cli:main" in setup


def test_a_sweep_in_a_config_file(command, tmp_path):
    (tmp_path / "mine").mkdir()
    lines = ["# @package _global_", "hydra:", "  mode: MULTIRUN", "  sweeper:", "    params:"]
    lines += ["      sparsity: dense,0.95,0.9", "      freeze: range(0.1,0.3,0.1)"]
    (tmp_path / "mine" / "study.yaml").write_text("\n".join(lines))
    status, out, err = command("--config-dir", ".", "+mine=study", "dry_run=json", "seed=3")
    assert status == 0, err
    settings = [set(json.loads(line)["overrides"]) for line in out.splitlines()]
    assert len(settings) == 6
    assert {"sparsity=0.95", "freeze=0.2", "seed=3"} <= settings[3]


def test_hydras_own_sweeper_works_too(command):
    status, out, err = command("-m", "hydra/sweeper=basic", "sparsity=0.9,0.95", "dry_run=json")
    assert status == 0, err
    assert len(out.splitlines()) == 2
    both = ["hydra/sweeper=basic", "hydra/launcher=basic", "debug=tiny", "logger=none", "threads=1"]
    status, _, err = command("-m", *both)
    assert status == 0, err
