"""Evaluation goes on without the images that cannot be read, and says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.structures import Boxes, Instances

from centernet2.data.mapper import DetectionMapper
from centernet2.engine import build_cfg
from centernet2.engine.test_set import build_test_loader
from centernet2.engine.testing import test_on as evaluate_on
from centernet2.errors import UserError
from centernet2.evaluation import build_evaluator


def config(*overrides: str) -> CfgNode:
    return build_cfg(
        overrides=["DATASETS.TEST", "('tiny',)", "DATALOADER.NUM_WORKERS", "0", *overrides]
    )


@pytest.fixture
def damaged(tiny: ModuleType, tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny data with images 1 and 4 of 12 broken."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_folder, folder)
    (folder / "001.png").write_bytes((folder / "001.png").read_bytes()[:200])
    (folder / "004.png").write_text("<html>")
    tiny.register_data(folder)
    return folder


def test_whole_data_come_as_from_detectron2(tiny_data: Path) -> None:
    cfg = config()
    mapper = DetectionMapper(cfg, is_train=False)
    reference = build_detection_test_loader(cfg, "tiny", mapper=mapper)
    loader = build_test_loader(cfg, "tiny")
    assert len(loader) == len(reference)
    for (mine,), (other,) in zip(loader, reference):
        assert mine["image_id"] == other["image_id"]
        assert mine["image"].equal(other["image"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_broken_images_are_left_out_and_named(
    workers: str,
    damaged: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader = build_test_loader(config("DATALOADER.NUM_WORKERS", workers), "tiny")
    shown = [sample["image_id"] for (sample,) in loader]
    assert shown == [1, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    told = [record.message for record in caplog.records if record.name.startswith("centernet2")]
    assert [message.split(" cannot")[0] for message in told[:2]] == [
        str(damaged / "001.png"),
        str(damaged / "004.png"),
    ]
    assert all("as if nothing were found" in message for message in told[:2])
    assert told[2].startswith("Images that could not be used: 2 (")


def test_the_limit_holds(damaged: Path) -> None:
    with pytest.raises(UserError, match=r"004\.png cannot be used: .* so far: 2; .* allows 1;"):
        list(build_test_loader(config("DATALOADER.MAX_BROKEN_IMAGES", "1"), "tiny"))


def test_their_objects_count_as_missed(tiny: ModuleType, damaged: Path, tmp_path: Path) -> None:
    """A detector without fault reaches the share of objects that it was shown."""
    cfg = config("OUTPUT_DIR", str(tmp_path))
    truth = json.loads((damaged / "annotations.json").read_text())["annotations"]
    boxes = {a["image_id"]: (a["bbox"], a["category_id"] - 1) for a in truth}

    class Perfect(torch.nn.Module):
        def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
            (sample,) = batch
            (x, y, w, h), label = boxes[sample["image_id"]]
            found = Instances((sample["height"], sample["width"]))
            found.pred_boxes = Boxes(torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32))
            found.scores, found.pred_classes = torch.ones(1), torch.tensor([label])
            return [{"instances": found}]

    loader = build_test_loader(cfg, "tiny")
    results = evaluate_on(Perfect(), loader, build_evaluator(cfg, "tiny"), None, "")
    for label, name in enumerate(tiny.CLASSES):
        images = [i for i, (_, other) in boxes.items() if other == label]
        share = len(set(images) - {2, 5}) / len(images)
        assert share < 1
        assert results["bbox"][f"AP-{name}"] == pytest.approx(100 * share, abs=1)
