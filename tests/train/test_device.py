"""Deterministic kernels, or an error that says what has none."""

import sys

import pytest
import torch

from spfde_exp.errors import UserError
from spfde_exp.train.device import check_compiler, exact


def test_what_has_no_deterministic_kernel_is_named_in_one_line() -> None:
    pool, back = torch.nn.MaxPool2d(2, return_indices=True), torch.nn.MaxUnpool2d(2)
    with (
        pytest.raises(UserError, match="the model uses max_unpooling2d_forward_out.* device=cpu") as error,
        exact(1, "fp32"),
    ):
        back(*pool(torch.zeros(1, 1, 4, 4)))
    assert "\n" not in str(error.value)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_batch_of_one_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="last batch of an epoch is a single example"), exact(1, "fp32"):
        torch.nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1))


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="must match"), exact(1, "fp32"):
        torch.zeros(2) + torch.zeros(3)


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(UserError, match="compile=true needs a C"):
        check_compiler(torch.device("cpu"))
    monkeypatch.setenv("CXX", sys.executable)  # any program that is there
    check_compiler(torch.device("cpu"))
