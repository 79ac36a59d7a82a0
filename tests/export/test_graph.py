from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from centernet2.errors import UserError
from centernet2.export.check import check_inputs, embedded_picture
from centernet2.export.file_info import describe_export
from centernet2.export.graph import DetectorGraph
from centernet2.export.parity import compare, model_outputs
from centernet2.inference.predictor import Predictor

Load = Callable[..., Predictor]
KINDS = [
    "one stage",
    "one stage, RGB, two maps",
    "one stage, peaks",
    "cascade",
    "cascade, sigmoid, masks of classes",
    "faster, boxes of classes",
    "detectron2's heads",
]


def _graph(predictor: Predictor, paste_masks: bool = False) -> DetectorGraph:
    order = predictor.cfg.INPUT.FORMAT
    return DetectorGraph(predictor.model, order, predictor.threshold, paste_masks).eval()


def _run(graph: DetectorGraph, pixels: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        outputs = graph(torch.from_numpy(pixels))
    return {name: value.numpy() for name, value in zip(graph.output_names, outputs)}


@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_the_model_finds(load: Load, kind: str) -> None:
    predictor = load(kind)
    graph = _graph(predictor)
    inputs = check_inputs([embedded_picture()], describe_export(predictor, None, False))
    assert len({pixels.shape for pixels in inputs}) == 2
    for pixels in inputs:
        expected = model_outputs(predictor, pixels)
        found = _run(graph, pixels)
        assert found.keys() == expected.keys()
        assert len(expected["scores"]) >= 5
        assert (np.diff(found["scores"]) <= 0).all()
        parity = compare(expected, found)
        assert parity.within(1e-2), parity


def test_pasted_masks_are_those_of_detectron2(load: Load) -> None:
    predictor = load("cascade")
    pixels = embedded_picture()[:201, :183]
    found = _run(_graph(predictor, paste_masks=True), pixels)
    assert found["masks"].dtype == bool
    assert found["masks"].shape[1:] == (201, 183)
    assert 0 < found["masks"].mean() < 1
    parity = compare(model_outputs(predictor, pixels, paste_masks=True), found)
    assert parity.within(1e-2), parity


@pytest.mark.parametrize("kind", ["one stage", "cascade"])
def test_score_threshold_holds(load: Load, kind: str) -> None:
    pixels = embedded_picture()[:200, :250]
    middle = float(np.median(model_outputs(load(kind), pixels)["scores"]))
    predictor = load(kind, score_thresh=middle)
    found = _run(_graph(predictor), pixels)
    assert len(found["scores"]) > 0
    assert found["scores"].min() >= middle
    assert compare(model_outputs(predictor, pixels), found).within(1e-2)


@pytest.mark.parametrize("kind", ["one stage", "one stage, peaks", "cascade"])
def test_nothing_to_find(load: Load, kind: str) -> None:
    predictor = load(kind, score_thresh=1.0)
    found = _run(_graph(predictor), embedded_picture()[:160, :150])
    assert found["boxes"].shape == (0, 4)
    assert found["scores"].shape == found["labels"].shape == (0,)
    if kind == "cascade":
        assert found["masks"].shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"MODEL.PROPOSAL_GENERATOR.NAME": "RPN"}, "MODEL.PROPOSAL_GENERATOR.NAME RPN"),
        ({"MODEL.META_ARCHITECTURE": "CenterNetTriplets"}, "MODEL.META_ARCHITECTURE CenterNetTr"),
        ({"MODEL.ROI_HEADS.NAME": "Res5ROIHeads"}, "MODEL.ROI_HEADS.NAME Res5ROIHeads"),
    ],
)
def test_unsupported_parts_are_named(
    load: Load, changes: dict[str, object], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load("cascade")
    model = predictor.model
    kind = str(next(iter(changes.values())))
    stranger = type(kind, (torch.nn.Module,), {})()
    if "PROPOSAL" in named:
        monkeypatch.setattr(model, "proposal_generator", stranger)
    elif "ROI_HEADS" in named:
        monkeypatch.setattr(model, "roi_heads", stranger)
    else:
        model = stranger
    with pytest.raises(UserError, match=named):
        DetectorGraph(model)
