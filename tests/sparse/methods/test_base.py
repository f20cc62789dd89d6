"""Settings of methods that cannot work are told before anything runs."""

import pytest
from omegaconf import OmegaConf

from spfde_exp.config import compose
from spfde_exp.errors import UserError
from spfde_exp.options import folder
from spfde_exp.sparse.methods import METHODS

ALWAYS = ("init", "p", "importance_lambda")  # of every method, and never null by their types
READ = [(name, key) for name, method in METHODS.items() for key in method.reads if key not in ALWAYS]


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_file_gives_what_it_reads_and_no_more(name: str) -> None:
    assert set(OmegaConf.load(folder("conf") / "method" / f"{name}.yaml")) == {"name", *METHODS[name].reads}


@pytest.mark.parametrize(("name", "key"), READ)
def test_null_is_refused_for_every_key_that_a_method_reads(name: str, key: str) -> None:
    with pytest.raises(UserError, match=rf"^method.{key}=null is impossible with method={name}; allowed: ") as error:
        compose([f"method={name}", f"method.{key}=null"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=rigl", "method.every_steps=[]"], "method.every_steps=[] is impossible with method=rigl; allowed: a"),
        (["method=dsr", "method.phases=[]"], "method.phases=[] is impossible"),
        (["method=deepr", "method.temperature=[]"], "method.temperature=[] is impossible with method=deepr"),
        (["method=grasp", "method.temperature=[1,2]"], "[1, 2] is a list, and method=grasp takes one number"),
        (["method=rigl", "method.every_steps=[1,2]"], "[1, 2] is a list, and method=rigl takes one number"),
        (["method=rigl_itop", "method.every_steps=[10]"], "is a list, and method=rigl_itop takes one number"),
        (["method=dsr", "method.every_steps=[10,20]"], "has 2 values for 4 phases, method.phases=[0.0, 0.125, "),
        (["method=deepr", "method.phases=[0,0.5]"], "has 4 values for 2 phases, method.phases=[0.0, 0.5]; allowed: "),
    ],
)
def test_lists_belong_to_phases(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        compose(overrides)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_one_number_is_good_for_all_phases() -> None:
    assert compose(["method=dsr", "method.every_steps=10"]).method.every_steps == 10
    assert compose(["method=deepr", "method.temperature=[1e-5,0]", "method.phases=[0,0.5]"]).method.phases == [0, 0.5]


def test_keys_that_a_method_never_reads_may_be_anything_allowed() -> None:
    assert compose(["method=mest", "+method.every_steps=[1,2]", "+method.drop=null"]).method.every_steps is None
