"""Logs that cannot be written, and logs that a kill cut short."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from detectron2.utils.events import EventStorage

from centernet2.engine.logs import start_logs
from centernet2.engine.progress import build_writers
from centernet2.evaluation.run_metrics import read_metrics


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.json"
    metrics.write_text('{"iteration": 0, "total_loss": 3.5}\n{"iteration": 1, "total_l')
    with EventStorage(1) as storage:
        writers = build_writers(str(tmp_path), 10)
        storage.put_scalars(total_loss=2.5)
        for writer in writers:
            writer.write()
            writer.close()
    assert metrics.read_text().endswith('total_l\n{"iteration": 1, "total_loss": 2.5}\n')
    iterations, losses = read_metrics(tmp_path)["total_loss"]
    assert iterations.tolist() == [0, 1]
    assert losses.tolist() == [3.5, 2.5]


def test_logs_on_a_full_disk_are_told_once_and_end_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics.json").symlink_to("/dev/full")
    with EventStorage(0) as storage, caplog.at_level(logging.WARNING):
        writers = build_writers(str(tmp_path), 10)
        for _ in range(3):
            storage.put_scalars(total_loss=2.5)
            for writer in writers:
                writer.write()
            storage.step()
        for writer in writers:
            writer.close()
    assert caplog.text.count("metrics.json cannot be written: No space left on device") == 1


def test_a_log_file_on_a_full_disk_is_told_once_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    start_logs(str(tmp_path))
    request.addfinalizer(lambda: start_logs(str(tmp_path / "after")))
    logger: Any = logging.getLogger("centernet2.test")
    for number in range(3):
        logger.warning("line %d", number)
    printed = capfd.readouterr()
    assert printed.out.count("line ") == 3
    assert printed.err == f"{tmp_path}/log.txt cannot be written: No space left on device\n"
