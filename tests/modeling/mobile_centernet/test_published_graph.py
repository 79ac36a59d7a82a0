"""Our network with the published weights against the published graph itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from PIL import Image

from centernet2.config import add_centernet_config
from centernet2.engine.coco_mobile_weights import convert_coco_mobile
from centernet2.engine.tfjs_weights import read_tfjs
from centernet2.inference.zoo import shipped_config
from centernet2.modeling.mobile_centernet import MobileCenterNet
from centernet2.modeling.mobile_centernet.decode import decode

from .reference_graph import Graph

GRAPH = Path(__file__).resolve().parents[3] / ".cache" / "coco_mobile" / "centernet.json"
if not GRAPH.is_file():
    pytest.skip(
        "the published graph is not here: python tools/fetch_coco_mobile.py",
        allow_module_level=True,
    )


@pytest.fixture(scope="module")
def model() -> MobileCenterNet:
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_file(str(shipped_config("coco-mobile")))
    cfg.MODEL.DEVICE = "cpu"
    built = build_model(cfg).eval()
    assert isinstance(built, MobileCenterNet)
    built.load_state_dict(convert_coco_mobile(read_tfjs(GRAPH)))
    return built


def test_maps_and_detections_of_a_photo(model: MobileCenterNet, shared_data: Path) -> None:
    (path, *_) = sorted((shared_data / "coco_mini").glob("**/val2017/*.jpg"))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((512, 512)), np.float32)
    names = ["tower_0/keypoints", "tower_0/wh", "tower_0/detections"]
    heat, sides, detections = Graph(GRAPH).run({"tower_0/images": pixels[None]}, names)
    assert detections[0, 0, 4] > 0.4  # the photo shows something

    with torch.inference_mode():
        maps = model.maps(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        boxes, scores, classes = decode(*maps, top_k=100)
    np.testing.assert_allclose(maps[0][0].permute(1, 2, 0), heat[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(maps[1][0].permute(1, 2, 0), sides[0], rtol=0, atol=0.02)
    found = torch.cat([boxes[0], scores[0, :, None], classes[0, :, None]], dim=1).numpy()
    # Down to where scores lie so close that rounding decides which comes first
    gaps = -np.diff(detections[0, :, 4])
    clear = int(np.argmax(gaps < 1e-4)) if (gaps < 1e-4).any() else 100
    assert clear >= 5
    np.testing.assert_allclose(found[:clear, :4], detections[0, :clear, :4], atol=0.02)
    np.testing.assert_allclose(found[:clear, 4], detections[0, :clear, 4], atol=1e-4)
    assert (found[:clear, 5] == detections[0, :clear, 5]).all()
