from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from centernet2.errors import UserError
from centernet2.export.check import embedded_picture
from centernet2.export.file_info import describe_export
from centernet2.export.graph import DetectorGraph
from centernet2.export.parity import compare, model_outputs
from centernet2.export.runtimes import load_exported
from centernet2.inference.predictor import Predictor

Load = Callable[..., Predictor]
P = "MODEL.POINTS."
# Sides of a multiple of 32, which grow by 32 all the same, and odd ones
SIZES = [(96, 128), (131, 77)]


def _found(predictor: Predictor, pixels: np.ndarray) -> dict[str, np.ndarray]:
    graph = DetectorGraph(predictor.model, predictor.cfg.INPUT.FORMAT, predictor.threshold).eval()
    with torch.no_grad():
        outputs = graph(torch.from_numpy(pixels))
    return {name: value.numpy() for name, value in zip(graph.output_names, outputs)}


def _picture(size: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(embedded_picture()[200 : 200 + size[0], 250 : 250 + size[1]])


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({f"{P}ROUND_RESULTS": False, f"{P}CLIP_BOXES": True}, 1e-3),
        ({f"{P}ROUND_RESULTS": False, "INPUT.FORMAT": "RGB"}, 1e-3),
        # A value may be rounded to the other side, and a far corner is a sum of two such
        ({f"{P}CLIP_BOXES": True}, 0.021),
        ({f"{P}ROUND_RESULTS": False, f"{P}SCORE_THRESH_TEST": 0.15, f"{P}TOP_K": 60}, 1e-3),
        ({f"{P}ROUND_RESULTS": False, "TEST.DETECTIONS_PER_IMAGE": 40}, 1e-3),
    ],
)
def test_finds_what_the_model_finds(
    load: Load, changes: dict[str, object], tolerance: float
) -> None:
    predictor = load("points", changes=changes)
    for size in SIZES:
        pixels = _picture(size)
        expected, found = model_outputs(predictor, pixels), _found(predictor, pixels)
        assert len(expected["scores"]) >= 5
        assert len(set(expected["labels"])) > 1
        assert (np.diff(found["scores"]) <= 0).all()
        parity = compare(expected, found)
        assert parity.within(tolerance), parity


def test_clipping_is_the_models(load: Load) -> None:
    pixels = _picture(SIZES[1])
    inside = _found(load("points", changes={f"{P}CLIP_BOXES": True}), pixels)["boxes"]
    free = _found(load("points"), pixels)["boxes"]
    assert inside.min() == 0 and inside[:, 2].max() == 77 and inside[:, 3].max() == 131
    assert free.min() < 0 and free[:, 2].max() > 77


def test_rounding_is_the_models(load: Load) -> None:
    found = _found(load("points"), _picture(SIZES[0]))
    assert found["boxes"] * 100 == pytest.approx(np.round(found["boxes"] * 100), abs=2e-3)
    assert found["scores"] * 100 == pytest.approx(np.round(found["scores"] * 100), abs=1e-4)


def test_image_of_fewer_cells_than_objects_to_find(load: Load) -> None:
    predictor = load("points", changes={f"{P}TOP_K": 10000, "TEST.DETECTIONS_PER_IMAGE": 10000})
    pixels = _picture((20, 20))
    found = _found(predictor, pixels)
    # Of a canvas of 32 x 32 pixels: 8 x 8 cells of 3 classes, not all of them peaks
    assert 5 < len(found["scores"]) < 8 * 8 * 3
    assert found["scores"].min() > 0
    parity = compare(model_outputs(predictor, pixels), found)
    assert parity.within(0.021), parity


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("onnx", None),
        ("onnx", (96, 160)),
        ("torchscript", None),
        pytest.param("openvino", None, marks=pytest.mark.slow),
    ],
)
def test_file_finds_what_the_model_finds(
    load: Load, export: Callable[..., Path], kind: str, size: tuple[int, int] | None
) -> None:
    changes = {f"{P}ROUND_RESULTS": False, f"{P}CLIP_BOXES": True}
    predictor = load("points", changes=changes)
    file = load_exported(export(predictor, kind, size), threads=1)
    for other in SIZES if size is None else [size]:
        pixels = _picture(other)
        parity = compare(model_outputs(predictor, pixels), file(pixels))
        assert parity.expected > 20
        assert parity.within(5e-3), parity


def test_what_is_filled_up_is_black_as_in_the_model(load: Load) -> None:
    assert describe_export(load("points"), (96, 160), False).padding == (0, 0, 0)


def test_deformable_convolutions_go_to_torchscript(load: Load, export: Callable[..., Path]) -> None:
    predictor = load(
        "points",
        changes={
            "MODEL.BACKBONE.NAME": "build_deconv_resnet_backbone",
            "MODEL.RESNETS.DEPTH": 18,
            "MODEL.DECONV.CHANNELS": "[16, 16, 16]",
            f"{P}ROUND_RESULTS": False,
        },
    )
    with pytest.raises(UserError, match="torchscript"):
        export(predictor, "onnx")
    file = load_exported(export(predictor, "torchscript"), threads=1)
    for size in SIZES:
        pixels = _picture(size)
        assert compare(model_outputs(predictor, pixels), file(pixels)).within(1e-3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"MODEL.KEYPOINT_ON": True}, "MODEL.KEYPOINT_ON True"),
        ({f"{P}TEST_MIRROR": True}, "MODEL.POINTS.TEST_MIRROR True"),
        ({f"{P}TEST_SCALES": "[0.5, 1.0]"}, r"MODEL.POINTS.TEST_SCALES \[0.5, 1.0\]"),
        ({f"{P}TEST_FIXED_SIZE": 512}, "MODEL.POINTS.TEST_FIXED_SIZE 512"),
        ({f"{P}NMS": True}, "MODEL.POINTS.NMS True"),
    ],
)
def test_what_cannot_be_kept_is_refused(load: Load, changes: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=f"^{named} cannot be exported .*: set it to "):
        DetectorGraph(load("points", changes=changes).model)
