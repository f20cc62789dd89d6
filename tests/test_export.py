"""Exported runs: what is written, that it computes the same elsewhere, and what it says of itself."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spfde_exp import export as command
from spfde_exp.config import compose
from spfde_exp.data.sources import load, pixels_of
from spfde_exp.errors import UserError
from spfde_exp.export import export
from spfde_exp.plan import build_model
from spfde_exp.sparse.layers import prunable_weights
from spfde_exp.sparse.masks import Masks
from spfde_exp.store import RunFolder
from spfde_exp.train.checkpoint import save

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "export.md").read_text()
USE, LOAD = re.findall(r"```python\n(.*?)```", GUIDE, re.S)  # the program, sparse weights
Finished = Callable[..., tuple[RunFolder, nn.Module]]


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """A run folder as a finished run leaves it, with random masks, and its model."""

    def make(*words: str) -> tuple[RunFolder, nn.Module]:
        config = compose(["debug=tiny", "logger=none", "sparsity.tolerance=0.3", f"runs_dir={tmp_path}", *words])
        folder = RunFolder.of(config)
        folder.path.mkdir()
        torch.manual_seed(0)
        model = build_model(config)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.bias, -0.5, 0.5)
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
        kept: dict[str, Tensor] = {}
        if config.method.name != "dense":
            sparsity = config.sparsity
            masks = Masks(
                prunable_weights(model, sparsity.prunable), sparsity.target, scheme=sparsity.scheme, tolerance=None
            )
            masks.init_random(sparsity.target, torch.Generator().manual_seed(0))
            kept = masks.state_dict()
        save(folder, "model.pt", {"model": model.state_dict(), "masks": kept})
        folder.write_config(asdict(replace(config, force=False)))
        folder.write_json("summary", {"signature": folder.signature, "test_acc": 12.5, "best_test_acc": 13.0})
        return folder, model.eval()

    return make


def call(*words: object) -> None:
    """``python -m spfde_exp.export WORDS...`` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export", *map(str, words)])
        command.main()


def loaded(out: Path) -> nn.Module:
    return torch.export.load(out / "model.pt2").module()


@pytest.mark.slow
def test_a_trained_run_works_in_plain_torch(tmp_path: Path, run_cli: Any) -> None:
    words = ("debug=tiny", "epochs=2", "freeze=none", "sieve=none", "sparsity.scheme=channel", "logger=none")
    assert run_cli(*words, "sparsity.tolerance=0.3", "threads=1", cwd=tmp_path).returncode == 0
    (path,) = tmp_path.glob("runs/*/model.pt")
    answer = run_cli(path.parent.name[:6], cwd=tmp_path, module="spfde_exp.export")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert "Channels that nobody reads" in answer.stdout
    model = build_model(compose([*words, "sparsity.tolerance=0.3", "threads=1"]))
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
    x = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        torch.save((x, model.eval()(x)), path.parent / "export" / "expected.pt")
    check = """
import sys
x, expected = torch.load("expected.pt")
assert float((logits - expected).abs().max()) < 1e-5 * float(expected.abs().max())
assert not any(name.startswith("spfde_exp") for name in sys.modules)
"""
    code = USE.replace("with torch", 'x = torch.load("expected.pt")[0]\nwith torch') + check
    command = [sys.executable, "-I", "-W", "ignore", "-c", code]
    subprocess.run(command, cwd=path.parent / "export", check=True)


@pytest.mark.parametrize("scheme", ["channel", "filter"])
def test_channels_shrink(finished: Finished, tmp_path: Path, scheme: str) -> None:
    folder, model = finished(f"sparsity.scheme={scheme}", "sparsity=0.8")
    out = tmp_path / "out"
    report = export(folder, out)
    assert report == json.loads((out / "export.json").read_text())
    assert report["flops"]["exported"] < 0.4 * report["flops"]["dense"]
    assert report["difference"] <= 1e-5
    assert report["weights"] == "shrunk"
    program = loaded(out)
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(program(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        state = torch.load(out / "weights.pt", weights_only=True)
        for tensor in program.state_dict().values():
            tensor.zero_()
        program.load_state_dict(state)
        torch.testing.assert_close(program(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    count = sum(p.numel() for p in program.parameters())
    assert report["sizes"]["model.pt2"]["parameters"] == count < 0.4 * report["sizes"]["dense"]["parameters"]


@pytest.mark.parametrize("scheme", ["unstructured", "block", "hybrid"])
def test_sparse_weights_go_back_into_the_plain_model(finished: Finished, tmp_path: Path, scheme: str) -> None:
    folder, model = finished(f"sparsity.scheme={scheme}", "sparsity=0.9")
    out = folder.file("export")
    report = export(folder, out)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    exec(LOAD.replace('"weights.pt"', "path"), {"torch": torch, "model": model, "path": out / "weights.pt"})
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    sizes = report["sizes"]
    assert sizes["weights.pt"]["bytes"] == (out / "weights.pt").stat().st_size < 0.5 * sizes["dense"]["bytes"]
    assert sizes["model.pt2"]["bytes"] == (out / "model.pt2").stat().st_size
    layers = {f"{name}.weight" for name in prunable_weights(model, "convs_but_first")}
    kept = sum(int((value != 0).sum() if name in layers else value.numel()) for name, value in model.named_parameters())
    if scheme == "unstructured":  # a block, and a pattern's kernel, may hold zeros
        assert sizes["weights.pt"]["parameters"] == kept
    assert "do not skip zeros" in report["note"]


def test_what_the_report_says(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model = finished("sparsity=0.9")
    call(folder.signature[:5], "--runs", tmp_path)
    report = json.loads(folder.file("export/export.json").read_text())
    assert (report["signature"], report["test_acc"], report["scheme"]) == (folder.signature, 12.5, "unstructured")
    assert report["input"] == {"shape": [1, 8, 8], "dtype": "float32", "scale": 16.0, "mean": [0.3054], "std": [0.3761]}
    assert report["classes"] == 10
    assert report["sparsity"] == pytest.approx(0.9, abs=1e-3)
    assert report["flops"]["masked"] < 0.3 * report["flops"]["dense"] == 0.3 * report["flops"]["folded"]
    assert report["sizes"]["dense"]["parameters"] == sum(p.numel() for p in model.parameters())
    latency = report["latency"]
    assert latency["threads"] == torch.get_num_threads()
    assert latency["device"]
    for batch in ("1", "32"):
        assert set(latency["batch"][batch]["median_ms"]) == {"dense", "folded", "exported"}
        assert all(value > 0 for value in latency["batch"][batch]["median_ms"].values())
        assert latency["batch"][batch]["speedup"]["dense"] == [1, 1, 1]
    printed = capsys.readouterr().out
    for word in (folder.signature, "12.50 %", "folded", "exported", "weights.pt", "batch of 32", report["note"]):
        assert word in printed


def test_training_again_removes_the_export(finished: Finished) -> None:
    folder, _ = finished()
    export(folder, folder.file("export"))
    folder.clear()
    assert not folder.file("export").exists()


def test_dense_runs(finished: Finished) -> None:
    folder, _ = finished("method=dense")
    report = export(folder, folder.file("export"))
    assert (report["weights"], report["sparsity"]) == ("dense", 0)
    assert "No weight is masked" in report["note"]


def test_pixels_are_those_of_the_data() -> None:
    data = load("digits", "nowhere")
    assert vars(pixels_of("digits")) == {"scale": data.scale, "mean": data.mean, "std": data.std}
    for name in ("mnist", "kmnist", "cifar10", "cifar100", "imagenet", "folder"):  # which are not there
        assert pixels_of(name).scale == 255
        assert len(pixels_of(name).mean) == len(pixels_of(name).std)


# -- models of one's own

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.two(self.one(x))
        CODE
        return self.last(x.mean((2, 3)))
"""


@pytest.fixture
def own(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A finished run of a model of one's own, with a line of code in its forward pass."""

    def make(name: str, code: str) -> tuple[RunFolder, nn.Module]:
        (tmp_path / f"{name}.py").write_text(OWN.replace("CODE", code))
        monkeypatch.syspath_prepend(tmp_path)
        return finished(
            "model=custom", f"model.target={name}.Net", f"model.allow=[{name}]", "sparsity.scheme=channel",
            "sparsity=0.5", "freeze=none",
        )  # fmt: skip

    return make


def test_own_models_shrink(own: Finished) -> None:
    folder, _ = own("own_plain", "pass")
    report = export(folder, folder.file("export"))
    assert report["flops"]["exported"] < report["flops"]["dense"]


def test_what_cannot_be_traced_is_exported_as_it_is(own: Finished) -> None:
    folder, model = own("own_shapes", "x = x if x.shape[1] > 4 else -x")
    report = export(folder, folder.file("export"))
    assert report["note"].startswith(
        "Exported as it is, with batch norm and all channels: CustomModel cannot be traced"
    )
    assert "folded" not in report["flops"]
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(folder.file("export"))(x), model(x))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("own_branches", "x = x if x.mean() > 0.1 else x + 1"),
        ("own_looks", "x = x if type(x) is torch.Tensor else -x"),  # another function when traced, and nobody complains
    ],
)
def test_what_cannot_be_exported_leaves_weights(
    own: Finished, capsys: pytest.CaptureFixture[str], name: str, code: str
) -> None:
    folder, _ = own(name, code)
    folder.file("export").mkdir()
    folder.file("export/model.pt2").write_text("of an earlier export")
    call(folder.signature, "--runs", folder.path.parent)
    printed = capsys.readouterr().out
    assert "There is no model.pt2, only weights.pt: torch cannot export it" in printed
    assert not folder.file("export/model.pt2").exists()
    assert torch.load(folder.file("export/weights.pt"), weights_only=True).keys() > {"net.last.weight"}


# -- errors


def test_torch_is_not_needed_for_errors(tmp_path: Path, run_cli: Any) -> None:
    answer = run_cli("abc", "--runs", "none", cwd=tmp_path, module="spfde_exp.export")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.strip() == "error: --runs none is no folder; name the runs_dir of your runs"
    code = "import sys, spfde_exp.export; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def error(folder: RunFolder, out: Path) -> str:
    with pytest.raises(UserError) as caught:
        export(folder, out)
    return str(caught.value)


def test_unfinished_runs(make_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    assert error(make_run("aaaa", "failed"), tmp_path / "out").startswith("run aaaa is failed: only a finished run")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_gone_or_damaged(finished: Finished, tmp_path: Path) -> None:
    folder, _ = finished()
    content = folder.file("model.pt").read_bytes()
    for damaged in (b"", b"no weights", content[: len(content) // 2]):
        folder.file("model.pt").write_bytes(damaged)
        assert f"runs rerun {folder.signature}" in error(folder, tmp_path / "out")
    save(folder, "model.pt", {"model": {"another.weight": torch.zeros(1)}, "masks": {}})
    assert "does not fit this run's model" in error(folder, tmp_path / "out")
    folder.file("model.pt").unlink()
    assert "model.pt is gone" in error(folder, tmp_path / "out")
    folder.file("config.yaml").unlink()
    assert "config.yaml is gone" in error(folder, tmp_path / "out")


def test_out_must_be_writable(finished: Finished, tmp_path: Path) -> None:
    folder, _ = finished()
    (tmp_path / "file").write_text("mine")
    assert "cannot be written" in error(folder, tmp_path / "file")
    assert "cannot be written" in error(folder, tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_export_that_was_stopped_has_no_report(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = finished()
    out = tmp_path / "out"
    export(folder, out)
    written = command.write_atomic

    def full(path: Path, content: str | bytes) -> None:
        if path.name == "weights.pt":
            raise OSError(28, "No space left on device")
        written(path, content)

    monkeypatch.setattr(command, "write_atomic", full)
    assert "No space left on device" in error(folder, out)
    assert not (out / "export.json").exists()
