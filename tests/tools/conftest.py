"""The scripts in tools/ import each other as top-level modules, as when they are run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.modeling import build_model
from PIL import Image

from centernet2.engine import build_cfg

TOOLS = str(Path(__file__).resolve().parents[2] / "tools")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
if TOOLS not in sys.path:
    sys.path.insert(0, TOOLS)


@pytest.fixture(scope="session")
def two_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registered data set of two images of noise with one box each."""
    folder = tmp_path_factory.mktemp("two_images")
    for i in (1, 2):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    truth = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 96, "height": 64} for i in (1, 2)],
        "categories": [{"id": i, "name": f"c{i}"} for i in (1, 2, 3)],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": i,
                "bbox": [8, 8, 40, 40],
                "area": 1600,
                "iscrowd": 0,
            }
            for i in (1, 2)
        ],
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    register_coco_instances("two_images", {}, str(folder / "truth.json"), str(folder))
    yield "two_images"
    DatasetCatalog.remove("two_images")
    MetadataCatalog.remove("two_images")


@pytest.fixture(scope="session")
def small_detectors(
    two_images: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """Options of a CenterNet2 and a Cascade R-CNN for three classes, with random weights."""
    folder = tmp_path_factory.mktemp("weights")
    options = {}
    for kind in ("CenterNet2", "CascadeRCNN"):
        config = str(CONFIGS / "small" / f"{kind}_MobileNetV2_bccd.yaml")
        torch.manual_seed(0)
        model = build_model(build_cfg(config, ["MODEL.DEVICE", "cpu"]))
        weights = str(folder / f"{kind}.pth")
        torch.save({"model": model.state_dict()}, weights)
        options[kind] = ["--config-file", config, "--weights", weights]
    return options
