"""Files with the published names of keypoint triplets: old and new format, wrapped or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from centernet2.engine import Checkpointer, build_cfg
from centernet2.engine.published import read_published, write_model
from centernet2.engine.published_names import adopt_names
from centernet2.errors import UserError

TESTS = Path(__file__).resolve().parents[1]
LISTS = TESTS / "data" / "published_state_dicts" / "triplets"
CONFIGS = TESTS.parent / "configs" / "triplets"
# Every layer of the published networks, a few channels wide
NARROW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.HOURGLASS.DIMS", "[4, 4, 6, 6, 6, 8]",
    "MODEL.HOURGLASS.STEM_CHANNELS", "2",
    "MODEL.TRIPLETS.POOL_CHANNELS", "3",
    "MODEL.TRIPLETS.NUM_CLASSES", "5",
]  # fmt: skip


def narrow(name: str, *overrides: str) -> CfgNode:
    return build_cfg(str(CONFIGS / f"{name}.yaml"), [*NARROW, *overrides])


def published_file(name: str, counters: bool = True) -> dict[str, torch.Tensor]:
    """Random values under the published names, in the shapes of the narrow model."""
    names = json.loads((LISTS / f"{name}.json").read_text())
    shapes = {
        key.split(".", 1)[1]: value.shape
        for key, value in build_model(narrow(name)).state_dict().items()
    }
    generator = torch.Generator().manual_seed(0)
    return {
        key: (
            torch.tensor(7)
            if key.endswith("num_batches_tracked")
            else torch.rand(shapes[key], generator=generator)
        )
        for key in names
        if counters or not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("name", ["CenterNet-104", "CenterNet-52", "CornerNet-104"])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("old", [True, False])
def test_a_published_file_loads_completely(
    name: str, wrapped: bool, old: bool, tmp_path: Path
) -> None:
    weights = published_file(name, counters=not old)
    file = tmp_path / f"{name}_480000.pkl"
    torch.save(
        {f"module.{k}" if wrapped else k: v for k, v in weights.items()},
        file,
        _use_new_zipfile_serialization=not old,
    )
    model = build_model(narrow(name))
    checkpointer = Checkpointer(model)
    checkpointer.load(str(file), checkpointables=[])

    match = checkpointer.match
    assert match is not None and match.complete and not match.unexpected and not match.missing
    assert len(match.matched) == match.model_size
    for key, value in model.state_dict().items():
        published = key.split(".", 1)[1]
        expected = weights.get(published, torch.tensor(0))
        assert torch.equal(value, expected), key


def test_it_is_converted(tmp_path: Path) -> None:
    weights = published_file("CornerNet-104", counters=False)
    file = tmp_path / "CornerNet_500000.pkl"
    torch.save(
        {f"module.{k}": v for k, v in weights.items()}, file, _use_new_zipfile_serialization=False
    )
    cfg = narrow("CornerNet-104")
    published = read_published(cfg, str(file))
    assert published.match.complete and not published.warnings
    output = tmp_path / "CornerNet-104.safetensors"
    write_model(published, cfg, "CornerNet-104.yaml", output)

    model = build_model(cfg)
    Checkpointer(model).load(str(output), checkpointables=[])
    state = model.state_dict()
    assert torch.equal(state["backbone.pre.0.conv.weight"], weights["pre.0.conv.weight"])
    assert torch.equal(state["heads.tl_tags.1.1.bias"], weights["tl_tags.1.1.bias"])


def test_another_number_of_classes_re_initialises_the_heatmaps_alone(tmp_path: Path) -> None:
    file = tmp_path / "CenterNet-52.pkl"
    torch.save(published_file("CenterNet-52"), file)
    checkpointer = Checkpointer(
        build_model(narrow("CenterNet-52", "MODEL.TRIPLETS.NUM_CLASSES", "2"))
    )
    checkpointer.load(str(file), checkpointables=[])
    match = checkpointer.match
    assert match is not None
    assert match.aside.classes == "the file is for 5 classes, the model for 2"
    assert match.aside.layers == [f"heads.{k}_heats.0.1" for k in ("br", "ct", "tl")]
    assert not match.missing and not match.reshaped


def test_other_files_and_models_keep_their_names() -> None:
    other: dict[str, Any] = {"conv1.weight": torch.zeros(1)}
    adopt_names(other, {"backbone.conv1.weight": torch.zeros(1)})
    assert list(other) == ["conv1.weight"]
    flat: dict[str, Any] = {"pre.0.conv.weight": torch.zeros(1)}
    adopt_names(flat, {"pre.0.conv.weight": torch.zeros(1)})
    assert list(flat) == ["pre.0.conv.weight"]


def test_a_torn_file_of_either_format_is_one_sentence(tmp_path: Path) -> None:
    for old in (True, False):
        file = tmp_path / f"torn_{old}.pkl"
        torch.save({"a": torch.rand(1000)}, file, _use_new_zipfile_serialization=not old)
        file.write_bytes(file.read_bytes()[:1500])
        with pytest.raises(UserError, match="cut short"):
            Checkpointer(torch.nn.Linear(1, 1)).load(str(file))
