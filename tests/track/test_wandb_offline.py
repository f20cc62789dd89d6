"""The reader of .wandb files, against a writer of the format that shares no code with it."""

import binascii
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.errors import UserError
from spfde_exp.track.wandb_offline import read_offline

pb = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is not installed")

HEADER = bytes.fromhex("3a572642e1be00")
BLOCK = 32768


def log_file(records):
    """The LevelDB log format, as its specification says it: fragments that never cross a 32 KiB border."""
    out = bytearray(HEADER)
    for record in records:
        first = True
        while True:
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                left = BLOCK
            part, record = record[: left - 7], record[left - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not record]
            checksum = binascii.crc32(bytes([kind]) + part)
            out += checksum.to_bytes(4, "little") + len(part).to_bytes(2, "little") + bytes([kind]) + part
            first = False
            if not record:
                break
    return bytes(out)


def history(**values):
    record = pb.Record()
    for key, value in values.items():
        record.history.item.add(nested_key=[key], value_json=json.dumps(value))
    return record.SerializeToString()


# Padding at the end of a block, fragments over several blocks, and a record that ends exactly at a border.
@pytest.mark.parametrize("size", [1, 32700, *range(32725, 32760), 100_000])
def test_records_of_every_size_come_back(tmp_path, size):
    rows = [{"epoch": 0, "text": "x" * size}, {"epoch": 1, "text": "y" * size}, {"epoch": 2, "text": "z"}]
    (tmp_path / "a.wandb").write_bytes(log_file(history(**row) for row in rows))
    assert read_offline(tmp_path / "a.wandb").history == rows


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=6), st.data())
def test_a_cut_file_gives_the_records_before_the_cut(tmp_path_factory, sizes, data):
    rows = [{"epoch": epoch, "text": "x" * size} for epoch, size in enumerate(sizes)]
    blob = log_file(history(**row) for row in rows)
    ends = [len(log_file(history(**row) for row in rows[:n])) for n in range(len(rows) + 1)]
    cut = data.draw(st.integers(len(HEADER), len(blob)))
    path = tmp_path_factory.mktemp("cut") / "a.wandb"
    path.write_bytes(blob[:cut])
    assert read_offline(path).history == rows[: max(n for n, end in enumerate(ends) if end <= cut)]


def test_a_flipped_bit_ends_the_reading(tmp_path):
    blob = bytearray(log_file([history(epoch=0), history(epoch=1), history(epoch=2)]))
    blob[len(log_file([history(epoch=0)])) + 9] ^= 1
    (tmp_path / "a.wandb").write_bytes(blob)
    assert read_offline(tmp_path / "a.wandb").history == [{"epoch": 0}]


def test_both_spellings_of_a_value_are_read(tmp_path):
    record = pb.Record()
    items = record.history.item
    items.add(key="a", value_json='"NaN"')
    items.add(nested_key=["by_kind", "weights"], value_json="3")
    items.add(nested_key=["by_kind", "indices"], value_json='"-Infinity"')
    items.add(key="_step", value_json="7")
    if "value" in pb.HistoryItem.DESCRIPTOR.oneofs_by_name:  # since wandb 0.31
        items.add(key="none", none=0)
        items.add(key="no", boolean=False)
        items.add(key="zero", integer=0)
        items.add(key="half", number=0.5)
        items.add(key="text", text="NaN")
        items.add(key="list", json="[1, 2]")
    (tmp_path / "a.wandb").write_bytes(log_file([record.SerializeToString()]))
    (row,) = read_offline(tmp_path / "a.wandb").history
    assert math.isnan(row.pop("a"))
    typed = {"none": None, "no": False, "zero": 0, "half": 0.5, "text": "NaN", "list": [1, 2]}
    by_kind = {"weights": 3, "indices": -math.inf}
    assert row in ({"by_kind": by_kind}, {"by_kind": by_kind, **typed})


def test_later_config_and_summary_records_win(tmp_path):
    run, config, summary, later, end = (pb.Record() for _ in range(5))
    run.run.run_id = "abc"
    run.run.config.update.add(key="seed", value_json="0")
    run.run.config.update.add(key="_wandb", value_json="{}")
    config.config.update.add(key="seed", value_json="1")
    summary.summary.update.add(nested_key=["_wandb", "runtime"], value_json="5")
    summary.summary.update.add(key="test_acc", value_json="70.5")
    later.summary.update.add(nested_key=["test_acc"], value_json="71.5")
    end.exit.exit_code = 0
    records = [record.SerializeToString() for record in (run, config, summary, later, end)]
    path = tmp_path / "a.wandb"
    path.write_bytes(log_file(records[:-1]))
    assert not read_offline(path).complete
    path.write_bytes(log_file(records))
    read = read_offline(path)
    assert (read.run_id, read.config, read.summary) == ("abc", {"seed": 1}, {"test_acc": 71.5})
    assert read.complete


def test_what_is_not_one_wandb_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds 0 offline"):
        read_offline(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "wandb" / f"offline-run-{name}").mkdir(parents=True)
        (tmp_path / "wandb" / f"offline-run-{name}" / "run-x.wandb").write_bytes(HEADER)
    with pytest.raises(UserError, match="holds 2 offline"):
        read_offline(tmp_path)
    (tmp_path / "old.wandb").write_bytes(b":W&B\xe1\xbe\x01")
    with pytest.raises(UserError, match="version 0"):
        read_offline(tmp_path / "old.wandb")
