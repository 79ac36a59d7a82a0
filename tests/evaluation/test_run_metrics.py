from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from detectron2.utils.events import EventStorage, JSONWriter

from centernet2.errors import UserError
from centernet2.evaluation.run_metrics import name_runs, read_metrics


def write_run(folder, lines):
    folder.mkdir(parents=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "metrics.json").write_text("\n".join(texts))
    return folder


def points(metrics, name):
    iterations, values = metrics[name]
    return list(zip(iterations.tolist(), values.tolist()))


def test_what_was_logged_before_a_run_went_back_does_not_count(tmp_path):
    lines = [
        {"iteration": 5, "lr": 0.1, "bbox/AP": 10.0},
        {"iteration": 9, "lr": 0.2, "bbox/AP": 20.0},
        {"iteration": 15, "lr": 0.3},
        {"iteration": 9, "lr": 0.4, "bbox/AP": float("nan")},
    ]
    metrics = read_metrics(write_run(tmp_path / "run", lines))
    assert points(metrics, "lr") == [(5, 0.1), (9, 0.4)]
    assert points(metrics, "bbox/AP") == [(5, 10.0)]


def test_a_metric_that_was_only_stale_is_absent(tmp_path):
    lines = [{"iteration": 9, "lr": 1.0, "old": 1.0}, {"iteration": 3, "lr": 2.0}]
    assert set(read_metrics(write_run(tmp_path / "run", lines))) == {"lr"}


def test_two_lines_of_one_iteration_are_joined(tmp_path):
    lines = [{"iteration": 9, "lr": 1.0}, {"iteration": 9, "bbox/AP": 2.0}]
    assert set(read_metrics(write_run(tmp_path / "run", lines))) == {"lr", "bbox/AP"}


@pytest.mark.parametrize(
    "line",
    [
        '{"iteration": 10, "lr"',
        "[1, 2]",
        "7",
        "null",
        '"text"',
        "",
        '{"lr": 0.5}',
        '{"iteration": "3", "lr": 0.5}',
        '{"iteration": true, "lr": 0.5}',
        '{"iteration": 8, "lr": "text"}',
        '{"iteration": 8, "lr": true}',
        '{"iteration": 8, "lr": Infinity}',
        '{"iteration": 8, "lr": [0.5]}',
    ],
)
def test_lines_that_say_nothing_are_passed_over(line, tmp_path):
    run = write_run(
        tmp_path / "run", [{"iteration": 5, "lr": 0.1}, line, {"iteration": 9, "lr": 1}]
    )
    assert points(read_metrics(run), "lr") == [(5, 0.1), (9, 1.0)]


def test_what_detectron2_writes_is_read(tmp_path):
    writer = JSONWriter(str(tmp_path / "metrics.json"))
    with EventStorage() as storage:
        for i in range(3):
            storage.put_scalar("total_loss", 3.0 - i, smoothing_hint=False)
            if i == 2:
                storage.put_scalar("bbox/AP", 40.0, smoothing_hint=False)
            writer.write()
            storage.step()
    writer.close()
    metrics = read_metrics(tmp_path)
    assert points(metrics, "total_loss") == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert points(metrics, "bbox/AP") == [(2, 40.0)]


def test_runs_without_metrics_are_named(tmp_path):
    with pytest.raises(UserError, match=r"absent has no metrics\.json"):
        read_metrics(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no metrics"):
        read_metrics(write_run(tmp_path / "empty", ["[]"]))


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    run = write_run(tmp_path / "run", [{"iteration": 5, "lr": 0.1}])
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"Cannot read .*metrics\.json: Permission denied"):
        read_metrics(run)


def test_names_tell_runs_apart_and_are_short():
    root = Path("/data").resolve()
    assert name_runs([root / "a" / "one", root / "b" / "two"]) == {
        "one": root / "a" / "one",
        "two": root / "b" / "two",
    }
    assert list(name_runs([root / "a/run", root / "b/run", root / "b/other"])) == [
        "a/run",
        "b/run",
        "b/other",
    ]
    assert list(name_runs([root / "a/x/run", root / "b/x/run"])) == ["a/x/run", "b/x/run"]


def test_a_run_named_twice_counts_once(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("run")
    assert list(name_runs([Path("run"), Path("./run/"), tmp_path / "run", Path("link")])) == ["run"]
