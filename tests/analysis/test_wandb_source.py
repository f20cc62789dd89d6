"""Runs of a W&B project, from answers as a server gives them, page by page; and of W&B's own files."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from analysis import wandb_source
from analysis.__main__ import run
from analysis.load import load_metrics, load_runs
from analysis.wandb_source import AT_THE_END, OF_AN_EPOCH
from spfde_exp.config import NEUTRAL, compose, signature
from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder

# Three answers to W&B's query for the runs of a project: eleven runs, of which the first three are of use. As JSON
# allows, numbers such as 1.0 have become 1. Configurations are of a version that had fewer keys.
PAGES = json.loads(Path(__file__).with_name("wandb_answers.json").read_text())
PROJECT = "team/spfde"


class FakeRun(SimpleNamespace):
    """A run as `wandb.Api` gives it."""

    def __init__(self, node):
        config = {key: value["value"] for key, value in json.loads(node["config"]).items() if key != "_wandb"}
        url = f"https://wandb.example/{PROJECT}/runs/{node['name']}"
        super().__init__(
            id=node["name"], state=node["state"], config=config, summary=json.loads(node["summaryMetrics"]), url=url
        )

    def scan_history(self):
        return iter([{"epoch": epoch, "test_acc": 50 + epoch, "loss": "NaN", "_step": epoch} for epoch in range(3)])


class FakeApi:
    """`wandb.Api` on `PAGES`; asks for a page only when the one before it is used up."""

    def __init__(self, fail_at=None):
        self.asked, self._fail_at = [], fail_at

    def runs(self, path, per_page=50, lazy=True):
        assert path == PROJECT and not lazy
        for number, page in enumerate(PAGES):
            if number == self._fail_at:
                raise ConnectionError("the network is\ngone.")
            self.asked.append(number)
            yield from (FakeRun(edge["node"]) for edge in page["project"]["runs"]["edges"])

    def run(self, path):
        (node,) = [
            e["node"] for p in PAGES for e in p["project"]["runs"]["edges"] if path == f"{PROJECT}/{e['node']['name']}"
        ]
        return FakeRun(node)


@pytest.fixture
def served(monkeypatch):
    """A function that puts a fake server in the place of W&B's."""

    def serve(api):
        monkeypatch.setattr(wandb_source, "_wandb", lambda: SimpleNamespace(Api=lambda: api))
        return api

    return serve


def config_of(seed):
    return compose(["recipe=digits", "method=mest_ems", "sieve=none", "sparsity=0.9", "freeze=0.2", f"seed={seed}"])


def check(frame):
    """What the recorded project holds."""
    done = frame[frame["test_acc"].notna()].sort_values("seed")
    assert done["seed"].tolist() == [0, 1, 2, 8] and done["test_acc"].tolist() == [98.5, 98.6, 98.7, 99.3]
    assert done["signature"].tolist()[:3] == [signature(config_of(seed)) for seed in range(3)]
    assert done["cell"].nunique() == 2  # the last one's learning rate was edited
    assert [url.rsplit("/", 1)[1] for url in done["path"]][1] == "a-name-of-its-own"
    assert done["device_name"].tolist()[0] == "NVIDIA A100-SXM4-40GB" and done["host"].isna().tolist()[:3] == [0, 0, 1]
    assert frame.set_index("seed")["state"].to_dict() == {
        0: "done", 1: "done", 2: "done", 3: "running", 4: "failed", 5: "torn", 6: "done", 8: "done",
    }  # fmt: skip
    notes = frame.attrs["notes"]
    for text in (
        "2 runs of other software", "1 run of a schema version", "1 run with an accuracy that is no number",
        "1 run without a whole summary.json", "1 run failed", "1 run running", "1 run renamed or edited",
    ):  # fmt: skip
        assert sum(text in note for note in notes) == 1, text
    assert len(notes) == 7


def test_a_project_is_read_page_by_page(served):
    api = served(FakeApi())
    check(load_runs(wandb=[PROJECT]))
    assert api.asked == [0, 1, 2]


def test_a_project_has_the_columns_of_run_folders(served, tmp_path, plant):
    """And its runs fall into the same cells."""
    served(FakeApi())
    paths = plant("A8", "recipe=digits")
    folders, project = load_runs([tmp_path / "runs"]), load_runs(wandb=[PROJECT])
    assert not set(OF_AN_EPOCH) & set(project)
    assert not [column for column in project if column.startswith("_")]
    settings = {column for column in folders if "." in column}
    assert settings - set(project) <= set(NEUTRAL)
    both = load_runs([tmp_path / "runs"], wandb=[PROJECT])
    shared = set(folders["signature"]) & set(project["signature"])
    assert len(shared) == 3 and len(both) == len(paths) + len(project) - 3
    assert any("3 runs found more than once" in note for note in both.attrs["notes"])  # other results were planted


def test_a_table_of_a_project(served, capsys):
    served(FakeApi())
    run(["A8", "--wandb", PROJECT, "recipe=digits"])
    table = capsys.readouterr().out
    (row,) = [line for line in table.splitlines() if line.startswith("| sparsity 90 %")]
    assert "98.60 ± 0.10 (3)" in row.replace("&nbsp;", " ") and row.count("—") == 8
    assert "1 run has a cell's settings under another protocol (other optim.lr)" in table


def test_half_a_project_is_none(served):
    served(FakeApi(fail_at=1))
    with pytest.raises(UserError, match=r"^--wandb team/spfde cannot be read: the network is gone; check its name"):
        load_runs(wandb=[PROJECT])


@pytest.mark.parametrize("name", ["spfde", "team/", "a/b/c", "team/my project"])
def test_a_project_has_an_entity(name):
    with pytest.raises(UserError, match="give entity/project"):
        load_runs(wandb=[name])


def test_the_epochs_of_a_run_on_the_server(served):
    served(FakeApi())
    path = load_runs(wandb=[PROJECT])["path"].iloc[0]
    frame = load_metrics(path)
    assert list(frame) == ["test_acc", "loss"] and frame.index.tolist() == [1, 2, 3]
    assert frame["test_acc"].tolist() == [50, 51, 52] and frame["loss"].isna().all()


class Server(BaseHTTPRequestHandler):
    """As much of W&B's server as `wandb.Api` asks for."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        answer = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            answer = {"viewer": {"id": "1", "entity": "team", "username": "u", "flags": "{}", "teams": {"edges": []}}}
            if "query Runs" in asked["query"]:
                ends = {None: 0} | {p["project"]["runs"]["pageInfo"]["endCursor"]: n + 1 for n, p in enumerate(PAGES)}
                known = asked["variables"]["project"] == "spfde"
                answer = PAGES[ends[asked["variables"].get("cursor")]] if known else {"project": None}
        content = json.dumps({"data": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


READ = """
import sys
from analysis.load import load_runs
from spfde_exp.errors import UserError
try:
    load_runs(wandb=[sys.argv[1]]).to_pickle(sys.argv[2])
except UserError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
def test_wandbs_own_client_reads_the_answers(run_cli, tmp_path):
    """Over HTTP, from a server of this machine."""
    pytest.importorskip("wandb")
    (tmp_path / "read_it.py").write_text(READ)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {"WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_API_KEY": "x" * 40}
    env |= {"WANDB_HTTP_TIMEOUT": "120", "WANDB_ERROR_REPORTING": "false", "HOME": str(tmp_path)}
    try:
        answer = run_cli(PROJECT, "frame", module="read_it", cwd=tmp_path, env=env)
        assert answer.returncode == 0, answer.stderr
        check(pd.read_pickle(tmp_path / "frame"))
        answer = run_cli("team/nothing", "none", module="read_it", cwd=tmp_path, env=env)
        assert answer.returncode == 1
        assert "--wandb team/nothing cannot be read: Could not find project nothing; check" in answer.stderr
        answer = run_cli(PROJECT, "none", module="read_it", cwd=tmp_path, env={**env, "WANDB_API_KEY": ""})
        assert answer.returncode == 1 and "No API key configured" in answer.stderr.splitlines()[-1]
    finally:
        server.shutdown()


@pytest.mark.slow
def test_offline_directories_hold_the_same_run(run_cli, tmp_path):
    """Of a real run: its folder and its mirror give one row, and one table of epochs."""
    pytest.importorskip("wandb")
    words = ["debug=tiny", "epochs=3", "freeze=none", "threads=1", "logger=wandb", "logger.mode=offline"]
    words += ["logger.timeout_s=200", "dataset.subset=100", "dataset.test_subset=60", "dataset.val_fraction=0.2"]
    answer = run_cli(*words, "runs_dir=runs", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    folders, files = load_runs([tmp_path / "runs"]), load_runs(wandb_dirs=[tmp_path])
    apart = ["path", "error"]
    pd.testing.assert_frame_equal(folders.drop(columns=apart), files.drop(columns=apart), check_dtype=False)
    assert files.attrs["notes"] == [] and folders.attrs["notes"] == []
    ours, theirs = (load_metrics(frame["path"].iloc[0]) for frame in (folders, files))
    pd.testing.assert_frame_equal(ours, theirs[ours.columns], check_dtype=False)
    # what tells the end of a run from one of its epochs
    folder = RunFolder(folders["path"].iloc[0])
    summary, rows = folder.summary(), folder.metrics()
    assert set(rows[0]) - set(summary) == set(OF_AN_EPOCH)
    assert set(AT_THE_END) <= set(summary) - set(rows[0])
    assert len(load_runs([tmp_path / "runs"], wandb_dirs=[tmp_path / "runs"])) == 1

    # what is left of a file that was cut off is no result
    (file,) = tmp_path.rglob("run-*.wandb")
    file.write_bytes(file.read_bytes()[:-40])
    cut = load_runs(wandb_dirs=[tmp_path])
    assert cut["test_acc"].isna().all() and "1 run cut off" in cut.attrs["notes"][0]
    assert len(load_metrics(cut["path"].iloc[0])) == 3
    file.write_bytes(b"sea")
    assert "1 folder not readable" in load_runs(wandb_dirs=[tmp_path]).attrs["notes"][0]


def test_a_folder_without_wandbs_files(tmp_path):
    pytest.importorskip("wandb")
    with pytest.raises(UserError, match=r"holds no run-\*\.wandb"):
        load_runs(wandb_dirs=[tmp_path])
