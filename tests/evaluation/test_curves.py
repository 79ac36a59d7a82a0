from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from centernet2.errors import UserError
from centernet2.evaluation.curves import plot_curves, read_metrics


def write_run(folder, records, rest=""):
    folder.mkdir(parents=True)
    text = "\n".join(json.dumps(r) for r in records) + rest
    (folder / "metrics.json").write_text(text)
    return folder


def records(scale):
    for i in range(0, 100, 5):
        loss = scale * np.exp(-i / 50)
        record = {"iteration": i, "total_loss": 2 * loss, "loss_a": loss, "loss_b": loss, "lr": 0.1}
        yield {**record, "bbox/AP": float(i)} if i % 25 == 0 else record


def test_a_resumed_run_counts_its_later_lines_and_a_killed_one_its_whole_lines(tmp_path):
    lines = [
        {"iteration": 5, "lr": 0.1},
        {"iteration": 9, "lr": 0.2},
        {"iteration": 5, "lr": 0.3, "note": "text", "bbox/AP": float("nan")},
    ]
    run = write_run(tmp_path / "run", lines, rest='\n{"iteration": 10, "lr"')
    metrics = read_metrics(run)
    iterations, values = metrics["lr"]
    assert iterations.tolist() == [5, 9]
    assert values.tolist() == [0.3, 0.2]
    assert "bbox/AP" not in metrics and "note" not in metrics


@pytest.mark.parametrize("count", [1, 2])
def test_curves_of_one_and_of_several_runs_are_drawn(count, tmp_path):
    runs = {f"run{i}": write_run(tmp_path / f"run{i}", records(1 + i)) for i in range(count)}
    picture = np.asarray(Image.open(plot_curves(runs, tmp_path / "out" / "curves.png")))
    assert picture.shape[0] > 300 and picture.shape[1] > 1000
    drawn = (picture[..., :3] < 250).any(axis=2)
    for part in np.array_split(drawn, 3, axis=1):
        assert part.mean() > 0.01


def test_runs_without_metrics_are_named(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.json"):
        read_metrics(tmp_path)
    with pytest.raises(UserError, match="holds no metrics"):
        read_metrics(write_run(tmp_path / "empty", []))
