"""An exported file in a model's place, and without PyTorch at all."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from centernet2.errors import UserError
from centernet2.export.check import embedded_picture
from centernet2.export.detector import ExportedDetector
from centernet2.export.runtimes import load_exported
from centernet2.inference.predictor import Predictor

Load = Callable[..., Predictor]
Export = Callable[..., Path]
SCRIPT = Path(__file__).resolve().parents[2] / "demo" / "onnx_detect.py"
ALONE = """
import runpy, sys
for name in ("torch", "torchvision", "detectron2", "centernet2", "cv2"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _image(predictor: Predictor, pixels: np.ndarray) -> torch.Tensor:
    ordered = pixels if predictor.cfg.INPUT.FORMAT == "RGB" else pixels[:, :, ::-1]
    return torch.from_numpy(ordered.transpose(2, 0, 1).copy())


def test_returns_what_the_model_returns(load: Load, export: Export) -> None:
    predictor = load("cascade")
    detector = ExportedDetector(
        load_exported(export(predictor, "torchscript")), predictor.cfg.INPUT.FORMAT
    )
    given = [
        {"image": _image(predictor, embedded_picture()[:200, :220]), "height": 410, "width": 333},
        {"image": _image(predictor, embedded_picture()[:160, :160])},
    ]
    with torch.inference_mode():
        # One by one: in a batch the smaller one would be padded further
        expected = [predictor.model([one])[0]["instances"] for one in given]
    found = [output["instances"] for output in detector(given)]
    for one, other in zip(expected, found):
        assert len(one) == len(other) > 0
        assert one.image_size == other.image_size
        assert torch.allclose(one.pred_boxes.tensor, other.pred_boxes.tensor, atol=1e-2)
        assert torch.allclose(one.scores, other.scores, atol=1e-4)
        assert (one.pred_classes == other.pred_classes).all()
        assert (one.pred_masks == other.pred_masks).float().mean() > 0.999


def test_fixed_size_is_undone(load: Load, export: Export) -> None:
    predictor = load("one stage")
    file = load_exported(export(predictor, "torchscript", (160, 224)))
    detector = ExportedDetector(file, predictor.cfg.INPUT.FORMAT)
    pixels = embedded_picture()[:320, :300]  # half of it is 160 x 150
    (found,) = detector([{"image": _image(predictor, pixels)}])
    canvas = np.full((160, 224, 3), file.info.padding, dtype=np.uint8)
    half = Image.fromarray(pixels).resize((150, 160), Image.Resampling.BILINEAR)
    canvas[:, :150] = np.asarray(half)
    boxes = (file(canvas)["boxes"] * 2).clip(0, [300, 320, 300, 320])
    boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    assert len(boxes) > 0
    np.testing.assert_allclose(found["instances"].pred_boxes.tensor, boxes, atol=1e-3)
    assert found["instances"].image_size == (320, 300)


def test_pasted_masks_are_refused(load: Load, export: Export) -> None:
    path = export(load("cascade"), "torchscript", (160, 224), paste_masks=True)
    with pytest.raises(UserError, match="--paste-masks"):
        ExportedDetector(load_exported(path), "RGB")


@pytest.mark.parametrize(("kind", "size"), [("cascade", None), ("one stage", (160, 224))])
def test_script_needs_no_pytorch(
    load: Load, export: Export, tmp_path: Path, kind: str, size: tuple[int, int] | None
) -> None:
    predictor = load(kind)
    path = export(predictor, "onnx", size)
    pixels = embedded_picture()
    Image.fromarray(pixels).save(tmp_path / "in.png")
    words = [SCRIPT, path, tmp_path / "in.png", tmp_path / "out.png", "0.2"]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = [
        (name, [float(number) for number in numbers])
        for name, *numbers in re.findall(
            r"^(.+) (\S+)  x (\S+) - (\S+), y (\S+) - (\S+)$", done.stdout, re.MULTILINE
        )
    ]
    if size is None:
        (expected,) = predictor([pixels[:, :, ::-1]])
    else:
        given = {"image": _image(predictor, pixels)}
        detector = ExportedDetector(load_exported(path), predictor.cfg.INPUT.FORMAT)
        expected = detector([given])[0]["instances"]
    expected = expected[expected.scores >= 0.2]
    assert len(printed) == len(expected) > 0
    for (name, (score, x0, x1, y0, y1)), box, label, true in zip(
        printed, expected.pred_boxes.tensor.tolist(), expected.pred_classes, expected.scores
    ):
        assert name == predictor.class_names[label]
        assert score == pytest.approx(float(true), abs=0.006)
        assert [x0, y0, x1, y1] == pytest.approx(box, abs=1.5)
    changed = (np.asarray(Image.open(tmp_path / "out.png")) != pixels).any(axis=2)
    assert 0 < changed.mean() < 1
    if kind == "cascade":
        assert changed[expected.pred_masks.any(dim=0).numpy()].mean() > 0.9


def test_script_is_short() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 40
    assert not {"torch", "centernet2", "detectron2"} & set(re.findall(r"^import (\w+)", text, re.M))
