"""Layers by name: what is compared, and that results agree."""

import importlib
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from spfde_exp.train.device import exact


def test_a_layer_is_compared_with_the_dense_one(benchmarks: Path) -> None:
    layers = importlib.import_module("layers")
    size = Namespace(model="resnet32", batch=4, turns=6, steps=1, threads=1)
    with exact(1, "fp32"):
        line = layers.measure(layers.Layer(4, 8, 8, 3, 2), 0.9, size)
    assert line[:2] == ("3x3/2 4-8 at 8x8", "0.9")
    assert line[3].startswith(">= 3: ")
    assert float(line[-1]) < 1e-6


def test_a_wrong_gradient_is_seen(benchmarks: Path) -> None:
    layers = importlib.import_module("layers")
    truth = tuple(torch.ones(2, 2) for _ in range(3))
    kept = torch.tensor([[True, True], [False, True]])
    assert layers.error((truth[0], truth[1], kept.float()), truth, kept) == 0
    assert layers.error((truth[0], truth[1] * 1.5, kept.float()), truth, kept) == pytest.approx(0.5)
