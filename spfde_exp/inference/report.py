"""What an exported run is and gains: files, sizes, FLOPs and latency against the dense model."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from spfde_exp.cost.flops import forward_flops
from spfde_exp.cost.layers import measure_layers
from spfde_exp.data.sources import pixels_of
from spfde_exp.data.specs import spec_of
from spfde_exp.inference import PROGRAM, SHRINKING, WEIGHTS
from spfde_exp.inference.latency import latencies, speedup
from spfde_exp.inference.program import Program, program
from spfde_exp.inference.weights import compact, file_content, stored_values
from spfde_exp.machine import cpu_name
from spfde_exp.models.base import BlockModel
from spfde_exp.schema import Config

BATCHES = (1, 32)
Image = tuple[int, int, int]


@dataclass(frozen=True)
class Exported:
    """An exported run.

    Attributes:
        program: content of that file; None where torch cannot export the model.
        weights: content of that file.
        report: what export.json says of both.
        trouble: why the model is not folded or not exported; empty where it is.
    """

    program: bytes | None
    weights: bytes
    report: dict[str, Any]
    trouble: str


def exported(config: Config, model: BlockModel, masks: Mapping[str, Tensor]) -> Exported:
    """Export a trained `model` of the run `config`, with its `masks` (bool, by layer), and measure it on the CPU.

    Raises:
        UserError: the model does not take the data set's images any more.
    """
    spec, scheme = spec_of(config.dataset), config.sparsity.scheme
    pixels = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(pixels_of(config.dataset.name)).items()}
    made = program(model, spec.shape)
    shrinks = bool(masks) and scheme in SHRINKING and made.folded is not None and made.content is not None
    dense_state = model.state_dict()
    names = {f"{name}.weight" for name in masks}
    state = made.network.state_dict() if shrinks else compact(dense_state, names, config.sparsity.block)
    weights = file_content(state)
    sparse = any(value.layout != torch.strided for value in state.values())
    parameters = [name for name, _ in (made.network if shrinks else model).named_parameters()]
    sizes = {
        "dense": {"parameters": _parameters(model), "bytes": len(file_content(dense_state))},
        WEIGHTS: {"parameters": sum(stored_values(state[name]) for name in parameters), "bytes": len(weights)},
    }
    if made.content is not None:
        sizes[PROGRAM] = {"parameters": _parameters(made.network), "bytes": len(made.content)}
    report = {
        "model": config.model.target or config.model.name,
        "dataset": config.dataset.name,
        "input": {"shape": list(spec.shape), "dtype": "float32", **pixels},
        "classes": spec.classes,
        "scheme": scheme if masks else "dense",
        "sparsity": _sparsity(masks),
        "weights": "shrunk" if shrinks else "sparse" if sparse else "dense",
        "sizes": sizes,
        "flops": _flops(model, made, masks, spec.shape),
        "difference": made.difference,
        "latency": _latency(model, made, spec.shape),
        "torch": torch.__version__,
    }
    return Exported(made.content, weights, report, made.trouble)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _sparsity(masks: Mapping[str, Tensor]) -> float:
    total = sum(mask.numel() for mask in masks.values())
    return 1 - sum(int(mask.sum()) for mask in masks.values()) / total if total else 0.0


def _flops(model: BlockModel, made: Program, masks: Mapping[str, Tensor], image: Image) -> dict[str, int]:
    """Of one image: dense; if zeros were free; and as the networks compute it, without batch norm and activations."""
    layers = measure_layers(model, image, model.blocks())
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    answer = {"dense": forward_flops(layers, {}), "masked": forward_flops(layers, kept)}
    if made.folded is not None:
        answer["folded"] = answer["dense"]
    if made.content is not None:
        answer["exported"] = forward_flops(measure_layers(made.network, image, []), {})
    return answer


def _latency(model: BlockModel, made: Program, image: Image) -> dict[str, Any]:
    dense = copy.deepcopy(model).eval().to(memory_format=torch.channels_last)
    networks: dict[str, nn.Module] = {"dense": dense}
    if made.folded is not None:
        networks["folded"] = made.folded
    if (loaded := made.loaded()) is not None:
        networks["exported"] = loaded
    batches = {}
    for batch in BATCHES:
        turns = latencies(networks, image, batch)
        batches[str(batch)] = {
            "turns": len(turns["dense"]),
            "median_ms": {name: median(times) for name, times in turns.items()},
            "speedup": {name: speedup(turns, name, over="dense") for name in networks},  # quartiles
        }
    return {"device": cpu_name(), "threads": torch.get_num_threads(), "batch": batches}
