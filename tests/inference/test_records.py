from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.structures import Instances

from centernet2.errors import UserError
from centernet2.inference.records import (
    RecordWriter,
    describe_changes,
    read_record,
    record_files,
    scan_records,
)
from centernet2.inference.shards import Shard

Make = Callable[..., Instances]
RUN = {"weights": "a.pth", "score threshold": 0.5}


def names(path: Path) -> list[str]:
    return [content["file_name"] for _, content in scan_records(path) if "file_name" in content]


@pytest.fixture
def record(tmp_path: Path, make_instances: Make) -> Path:
    with RecordWriter(tmp_path, RUN, [1, 2, 10], Shard()) as writer:
        writer.finished("a/x.jpg", make_instances((30, 40), [[1, 2, 11, 22]], masks=True))
        writer.failed("b.jpg", "b.jpg: not an image")
        writer.finished("c.jpg", make_instances((5, 6), []))
    return tmp_path / "detections.jsonl"


def test_lines_hold_what_was_found(record: Path) -> None:
    header, found, failed, empty = (content for _, content in scan_records(record))
    assert header == {"run": RUN}
    assert {key: found[key] for key in ("file_name", "width", "height")} == {
        "file_name": "a/x.jpg",
        "width": 40,
        "height": 30,
    }
    (entry,) = found["detections"]
    assert (entry["category_id"], entry["bbox"]) == (1, [1, 2, 10, 20])
    assert set(entry) == {"category_id", "bbox", "score", "segmentation"}
    assert failed == {"file_name": "b.jpg", "error": "b.jpg: not an image"}
    assert empty["detections"] == []
    with record.open("rb") as file:
        for offset, content in scan_records(record):
            assert read_record(file, offset) == content


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_line_that_was_cut_off_is_as_if_it_had_never_been(
    record: Path, make_instances: Make, cut: int
) -> None:
    os.truncate(record, record.stat().st_size - cut)
    assert names(record) == ["a/x.jpg", "b.jpg"]
    with RecordWriter(record.parent, RUN, [1, 2, 10], Shard()) as writer:
        writer.finished("d.jpg", make_instances((5, 6), []))
    assert names(record) == ["a/x.jpg", "b.jpg", "d.jpg"]
    assert all(json.loads(line) for line in record.read_text().splitlines())


def test_first_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "detections.jsonl").write_text('{"run": {"wei')
    with RecordWriter(tmp_path, RUN, [1], Shard()):
        pass
    assert (tmp_path / "detections.jsonl").read_text() == json.dumps({"run": RUN}) + "\n"


def test_long_cut_line_is_removed(record: Path) -> None:
    whole = record.read_bytes()
    record.write_bytes(whole + b"x" * 200_000)
    with RecordWriter(record.parent, RUN, [1], Shard()):
        pass
    assert record.read_bytes() == whole


def test_damaged_line_in_the_middle_is_left_out(record: Path) -> None:
    lines = record.read_bytes().splitlines(keepends=True)
    lines[1] = b"\0" * (len(lines[1]) - 1) + b"\n"
    record.write_bytes(b"".join(lines))
    assert names(record) == ["b.jpg", "c.jpg"]


def test_each_process_has_a_file_of_its_own(record: Path) -> None:
    for rank in range(2):
        with RecordWriter(record.parent, RUN, [1], Shard(rank, 2)):
            pass
    assert [path.name for path in record_files(record.parent)] == [
        "detections.0-of-2.jsonl",
        "detections.1-of-2.jsonl",
        "detections.jsonl",
    ]


def test_changes_are_named(record: Path) -> None:
    assert describe_changes(record.parent, RUN) == ""
    changed = {**RUN, "score threshold": 0.3}
    expected = f"{record} was made with score threshold 0.5, not 0.3"
    assert describe_changes(record.parent, changed) == expected


def test_unwritable_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "detections.jsonl").mkdir()
    with pytest.raises(UserError, match=r"detections\.jsonl: cannot be written \(Is a directory"):
        RecordWriter(tmp_path, RUN, [1], Shard())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_is_one_sentence(
    record: Path, make_instances: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RecordWriter(record.parent, RUN, [1, 2, 10], Shard())
    with writer, open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(writer, "_file", full)
        with pytest.raises(UserError, match="cannot be written .No space left"):
            writer.finished("d.jpg", make_instances((5, 6), []))
