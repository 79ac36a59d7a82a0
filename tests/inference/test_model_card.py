from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from centernet2.engine.defaults import build_cfg
from centernet2.inference.model_card import describe_model
from centernet2.inference.predictor import Predictor

SMALL = Path(__file__).resolve().parents[2] / "configs" / "small"
JOINTS = ["MODEL.KEYPOINT_ON", "True"]


@pytest.mark.parametrize(
    ("config", "changes", "architecture", "finds"),
    [
        ("CenterNet2_MobileNetV2_pennfudan", [], "GeneralizedRCNN (two stages,", "boxes and masks"),
        ("CenterNet2_MobileNetV2_bccd", [], "GeneralizedRCNN (two stages,", "boxes"),
        ("CenterNet2_MobileNetV2_bccd", JOINTS, "GeneralizedRCNN (two", "boxes and joints"),
        ("ObjectsAsPoints_MobileNetV2_pose", [], "ObjectsAsPoints (one stage)", "boxes and joints"),
        # A key that this meta-architecture does not read
        ("ObjectsAsPoints_MobileNetV2_bccd", ["MODEL.MASK_ON", "True"], "ObjectsAs", "boxes"),
    ],
)
def test_findings_are_those_of_the_architecture(
    config: str, changes: list[str], architecture: str, finds: str
) -> None:
    words = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", *changes]
    predictor = Predictor(build_cfg(str(SMALL / f"{config}.yaml"), words))
    card = describe_model(predictor)
    assert card["architecture"].startswith(architecture)
    assert card["finds"] == finds
    parts = {"pred_masks": "masks", "pred_keypoints": "joints"}
    (found,) = predictor([np.zeros((64, 64, 3), np.uint8)])
    assert [part in finds for part in parts.values()] == [found.has(name) for name in parts]
