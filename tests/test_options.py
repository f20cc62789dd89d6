"""Bare numbers name options of sparsity, freeze and sieve, in every form Hydra knows."""

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import expand
from spfde_exp.options import OptionSource, accept_numbers, folder, ratio_name


def composed(*overrides: str):
    accept_numbers()
    with initialize_config_dir(config_dir=str(folder("conf")), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize(
    ("spelling", "target"),
    [
        ("sparsity=0.93", 0.93),
        ("sparsity='0.93'", 0.93),
        ("sparsity=9.3e-1", 0.93),
        ("sparsity.target=0.93", 0.93),
        ("sparsity={target:0.93}", 0.93),
        ("sparsity=0", 0.0),
        ("sparsity=0.0", 0.0),
        ("sparsity=dense", 0.0),
    ],
)
def test_spellings_of_sparsity(spelling, target):
    assert composed(spelling).sparsity.target == target


def test_a_number_refines_the_named_option():
    config = composed("freeze=0.15", "sieve=0.2")
    assert (config.freeze.scheme, config.freeze.target) == ("single_shot", 0.15)
    assert (config.sieve.mode, config.sieve.ratio) == ("circular", 0.2)


def test_zero_switches_off():
    config = composed("freeze=0", "sieve=0")
    assert (config.freeze.scheme, config.sieve.mode) == ("none", "none")


def test_named_scheme_without_target_takes_a_fifth():
    assert composed("freeze=single_shot").freeze.target == 0.2


@pytest.mark.parametrize("number", ["1", "1.0", "-0.1", "2", "inf", "nan", "0.99999999999999999"])
def test_numbers_out_of_range_are_told_in_one_line(number):
    with pytest.raises(UserError, match="from 0 up to, not including, 1") as error:
        composed(f"sparsity={number}")
    assert "\n" not in str(error.value)


@given(st.floats(0, 0.999))
def test_option_names_round_trip_and_are_stable(number):
    name = ratio_name("sparsity", number)
    assert float(name) == pytest.approx(number, abs=1e-9)
    assert ratio_name("sparsity", float(name)) == name
    assert OptionSource("spfde", "spfde://").is_config(f"sparsity/{name}")


def jobs(*arguments: str) -> list[list[str]]:
    accept_numbers()
    return expand(list(arguments), None)


def test_sweeps_of_numbers_and_names_multiply():
    assert jobs("sparsity=dense,0.9", "freeze=0.15,0.2") == [
        ["sparsity=dense", "freeze=0.15"],
        ["sparsity=dense", "freeze=0.2"],
        ["sparsity=0.9", "freeze=0.15"],
        ["sparsity=0.9", "freeze=0.2"],
    ]


def test_range_drift_does_not_name_a_new_run():
    spelled = [job[0] for job in jobs("sparsity=range(0.9,0.96,0.02)")]
    assert [composed(s).sparsity.target for s in spelled] == [0.9, 0.92, 0.94]


def test_accepting_numbers_twice_changes_nothing():
    accept_numbers()
    accept_numbers()
    assert composed("sparsity=0.5").sparsity.target == 0.5


def test_other_applications_are_left_alone(tmp_path):
    (tmp_path / "config.yaml").write_text("defaults:\n  - sparsity: low\n")
    (tmp_path / "sparsity").mkdir()
    (tmp_path / "sparsity" / "low.yaml").write_text("level: 1\n")
    with (
        initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"),
        pytest.raises(Exception, match=r"Could not find 'sparsity/0\.5'"),
    ):
        compose("config", overrides=["sparsity='0.5'"])
