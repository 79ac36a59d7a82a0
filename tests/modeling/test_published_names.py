"""Parameter names and shapes equal those of the published release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

LISTS = Path(__file__).resolve().parents[1] / "data" / "published_state_dicts"
CONFIG_LISTS = {
    "Base-CenterNet2.yaml": "Base-CenterNet2.json",
    "CenterNet2_R50_1x.yaml": "Base-CenterNet2.json",
    "CenterNet2-F_R50_1x.yaml": "CenterNet2-F_R50_1x.json",
    "Base-CenterNet-FPN.yaml": "Base-CenterNet-FPN.json",
    "CenterNet-FPN_R50_1x.yaml": "Base-CenterNet-FPN.json",
    "LVIS_CenterNet2_R50_1x.yaml": "LVIS_CenterNet2_R50_1x.json",
    "LVIS_CenterNet2_R50_Fed_1x.yaml": "LVIS_CenterNet2_R50_1x.json",
}


@pytest.mark.parametrize("config", CONFIG_LISTS)
def test_names_and_shapes_are_the_published_ones(config, load_config):
    published = json.loads((LISTS / CONFIG_LISTS[config]).read_text())
    with torch.device("meta"):
        model = build_model(load_config(config, "MODEL.DEVICE", "meta", shrink=False))
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == published


def test_a_published_checkpoint_loads_with_nothing_missing_or_unexpected(load_config, tmp_path):
    """A file with the published names, written as a Detectron2 checkpoint, read by its reader."""
    published = json.loads((LISTS / "Base-CenterNet2.json").read_text())
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.rand(shape, generator=generator) for name, shape in published.items()}
    torch.save({"model": state}, tmp_path / "published.pth")
    model = build_model(load_config("CenterNet2_R50_1x.yaml", shrink=False))

    report = DetectionCheckpointer(model)._load_model(
        {"model": dict(state), "matching_heuristics": False}
    )

    # pixel_mean and pixel_std are constants of Detectron2's model, not part of its state
    assert not report.missing_keys and not report.unexpected_keys and not report.incorrect_shapes
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
