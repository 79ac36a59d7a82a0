from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from centernet2.evaluation.results_file import ResultsWriter


def test_images_come_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("former")
    writer = ResultsWriter(path)
    writer.reset()
    for image_id, score in ((3, 0.1), (1, 0.2), (3, 0.3)):
        writer.add(image_id, [{"image_id": image_id, "score": score}])
    writer.add(9, [])
    assert path.read_text() == "former", "the file is replaced only when it is complete"
    assert writer.join() == 3
    assert [d["score"] for d in json.loads(path.read_text())] == [0.1, 0.2]
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_is_forgotten(tmp_path: Path) -> None:
    killed = ResultsWriter(tmp_path / "results.json")
    killed.reset()
    killed.add(1, [{"image_id": 1}])
    killed.close()
    writer = ResultsWriter(tmp_path / "results.json")
    writer.reset()
    assert writer.join() == 0
    assert json.loads(writer.path.read_text()) == []


def test_images_before_reset(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="reset"):
        ResultsWriter(tmp_path / "results.json").add(1, [])


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)  # a fork has none of its parent's threads
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    writer = ResultsWriter(Path(folder, "results.json"))
    writer.reset()
    for image_id in (7, 10 + rank):  # 7: both processes see it
        writer.add(image_id, [{"image_id": image_id, "score": float(rank)}])
    images = writer.join()
    assert images == (3 if rank == 0 else 0)
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    mp.start_processes(_process, (str(tmp_path),), nprocs=2, start_method="fork")
    found = json.loads((tmp_path / "results.json").read_text())
    assert [(d["image_id"], d["score"]) for d in found] == [(7, 0.0), (10, 0.0), (11, 1.0)]
    assert not list(tmp_path.glob("*.part-*"))
