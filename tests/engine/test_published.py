"""The check of colours and statistics, and the converted file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from safetensors import safe_open
from safetensors.torch import load_file

import centernet2  # noqa: F401  (registers the models)
from centernet2.engine import Checkpointer, build_cfg
from centernet2.engine.published import colour_warnings, read_published, write_model
from centernet2.errors import UserError

REPO = Path(__file__).resolve().parents[2]
RGB, BGR = [123.675, 116.28, 103.53], [103.53, 116.28, 123.675]
STD_RGB, STD_BGR = [58.395, 57.12, 57.375], [57.375, 57.12, 58.395]


def narrow_cfg(*overrides: str, name: str = "CenterNet2_R50_1x") -> CfgNode:
    narrow = [
        "MODEL.RESNETS.WIDTH_PER_GROUP", "4",
        "MODEL.RESNETS.RES2_OUT_CHANNELS", "16",
        "MODEL.RESNETS.STEM_OUT_CHANNELS", "4",
        "MODEL.FPN.OUT_CHANNELS", "32",
        "MODEL.ROI_BOX_HEAD.FC_DIM", "8",
    ]  # fmt: skip
    return build_cfg(str(REPO / "configs" / f"{name}.yaml"), [*narrow, *overrides])


def saved(cfg: CfgNode, path: Path, **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random weights of the model of a config, in a file."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    state = build_model(cfg).state_dict()
    torch.save({"model": {**state, **extra}}, path)
    return state


@pytest.mark.parametrize(
    ("mean", "std", "order", "said"),
    [
        (RGB, STD_RGB, "RGB", []),
        (BGR, STD_BGR, "BGR", []),
        (BGR, [1.0, 1.0, 1.0], "BGR", []),
        ([102.9801, 115.9465, 122.7717], [1.0, 1.0, 1.0], "BGR", []),
        (RGB, STD_RGB, "BGR", ["INPUT.FORMAT is BGR, but", "in the order RGB", "INPUT.FORMAT RGB"]),
        (BGR, STD_BGR, "RGB", ["INPUT.FORMAT is RGB, but", "in the order BGR", "INPUT.FORMAT BGR"]),
        (RGB, STD_BGR, "RGB", ["MODEL.PIXEL_STD [57.375, 57.12, 58.395] is in the other order"]),
        (BGR, STD_RGB, "BGR", ["MODEL.PIXEL_STD [58.395, 57.12, 57.375] is in the other order"]),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "RGB", ["multiply both by 255"]),
        ([127.5] * 3, [127.5] * 3, "RGB", []),
        ([127.5] * 3, [127.5] * 3, "BGR", []),
        ([0.0] * 3, [1.0] * 3, "BGR", []),
        ([90.0, 95.0, 110.0], [50.0, 51.0, 52.0], "RGB", []),
        ([116.0], [58.0], "L", []),
    ],
)
def test_colours(mean: list[float], std: list[float], order: str, said: list[str]) -> None:
    cfg = build_cfg()
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.INPUT.FORMAT = mean, std, order
    warnings = colour_warnings(cfg)
    assert len(warnings) == bool(said)
    assert all(part in warnings[0] for part in said)


def test_the_shipped_configs_have_consistent_colours() -> None:
    # Two published models were trained on BGR images with the statistics of RGB
    as_published = {
        "CenterNet2_R2-101-DCN_896_4x.yaml",
        "CenterNet2_R2-101-DCN-BiFPN_1280_4x.yaml",
    }
    for path in sorted((REPO / "configs").rglob("*.yaml")):
        if path.name not in as_published:
            assert not colour_warnings(build_cfg(str(path))), path.name


def test_modules_add_up(tmp_path: Path) -> None:
    cfg = narrow_cfg()
    state = saved(cfg, tmp_path / "x.pth")
    del state["backbone.bottom_up.stem.conv1.weight"]
    state["backbone.top_block.p6.weight"] = torch.zeros(1, 1)
    state["roi_heads.box_predictor.0.cls_score.bias"] = torch.zeros(11)
    state["roi_heads.mask_head.mask_fcn1.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "y.pth")
    published = read_published(cfg, str(tmp_path / "y.pth"))
    rows = {row.module: row for row in published.modules()}
    assert sum(row.model for row in rows.values()) == len(published.state)
    for row in rows.values():
        assert row.model == row.matched + row.missing + row.reshaped
    assert rows["backbone.bottom_up"].missing == 1
    assert rows["backbone.top_block"].reshaped == 1
    assert rows["roi_heads.box_predictor"].reshaped == 1
    assert rows["roi_heads.mask_head"][1:] == (0, 0, 0, 0, 1)
    assert next(iter(rows)).startswith("backbone.")


def test_the_converted_file_holds_the_weights_and_the_card(tmp_path: Path) -> None:
    cfg = narrow_cfg()
    extra = {"roi_heads.box_predictor.0.freq_weight": torch.ones(80)}
    state = saved(cfg, tmp_path / "x.pth", **extra)
    published = read_published(cfg, str(tmp_path / "x.pth"))
    assert published.warnings == []
    write_model(published, cfg, "CenterNet2_R50_1x.yaml", tmp_path / "x.safetensors")

    written = load_file(tmp_path / "x.safetensors")
    assert set(written) == set(state)
    assert all(torch.equal(written[name], value) for name, value in state.items())
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        card = file.metadata()
    assert card["format"] == "pt"
    assert card["num_classes"] == "80"
    assert card["pixel_mean"] == "[103.53, 116.28, 123.675]"
    assert card["pixel_std"] == "[1, 1, 1]"
    assert card["input_format"] == "BGR"
    assert card["config"] == "CenterNet2_R50_1x.yaml"
    assert card["source_file"] == "x.pth"
    assert all(card[k] in card["model_card"] for k in ("source_file", "source_sha256", "pixel_std"))

    again = build_model(_on_cpu(cfg))
    checkpointer = Checkpointer(again)
    checkpointer.load(str(tmp_path / "x.safetensors"))
    assert checkpointer.match is not None
    assert checkpointer.match.complete
    assert all(torch.equal(v, state[n]) for n, v in again.state_dict().items())


def _on_cpu(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    cfg = narrow_cfg()
    saved(cfg, tmp_path / "x.pth")
    paths = [tmp_path / f"{i}.safetensors" for i in range(5)]
    digests = {
        write_model(read_published(cfg, str(tmp_path / "x.pth")), cfg, "c.yaml", path)
        for path in paths
    }
    data = paths[0].read_bytes()
    assert digests == {hashlib.sha256(data).hexdigest()}
    assert all(path.read_bytes() == data for path in paths)
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    keys = list(json.loads(data[8 : 8 + length])["__metadata__"])
    assert keys == sorted(keys)


def test_a_card_that_disagrees_with_the_config_is_told(tmp_path: Path) -> None:
    cfg = narrow_cfg()
    saved(cfg, tmp_path / "x.pth")
    path = tmp_path / "x.safetensors"
    write_model(read_published(cfg, str(tmp_path / "x.pth")), cfg, "c.yaml", path)
    assert read_published(cfg, str(path)).warnings == []
    changed = narrow_cfg("MODEL.PIXEL_STD", "[57.375, 57.12, 58.395]")
    (warning,) = read_published(changed, str(path)).warnings
    assert warning == (
        "the file's card says pixel_std [1, 1, 1], but the config has [57.375, 57.12, 58.395]."
    )


def test_statistics_among_the_weights_are_told_once(tmp_path: Path) -> None:
    cfg = narrow_cfg(name="CenterNet-FPN_R50_1x")
    saved(cfg, tmp_path / "x.pth")
    path = tmp_path / "x.safetensors"
    write_model(read_published(cfg, str(tmp_path / "x.pth")), cfg, "c.yaml", path)
    changed = narrow_cfg("MODEL.PIXEL_STD", "[57.375, 57.12, 58.395]", name="CenterNet-FPN_R50_1x")
    (warning,) = read_published(changed, str(path)).warnings
    assert "its pixel_std is [1.0, 1.0, 1.0]" in warning
    assert "The file's are used" in warning


def test_statistics_in_the_file_are_compared(tmp_path: Path) -> None:
    saved(narrow_cfg(), tmp_path / "x.pth", pixel_mean=torch.tensor(RGB).view(3, 1, 1))
    (warning,) = read_published(narrow_cfg(), str(tmp_path / "x.pth")).warnings
    assert "its pixel_mean is [123.675, 116.28, 103.53]" in warning
    assert "reverse order" in warning


def test_another_number_of_classes_is_told_and_not_converted(tmp_path: Path) -> None:
    saved(narrow_cfg(), tmp_path / "x.pth")
    cfg = narrow_cfg("MODEL.ROI_HEADS.NUM_CLASSES", "7")
    published = read_published(cfg, str(tmp_path / "x.pth"))
    (warning,) = published.warnings
    assert "for 80 classes, the model for 7 (MODEL.ROI_HEADS.NUM_CLASSES 7)" in warning
    assert "roi_heads.box_predictor.2.cls_score" in warning
    with pytest.raises(UserError, match="does not hold all weights of this model"):
        write_model(published, cfg, "c.yaml", tmp_path / "y.safetensors")
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("y.pth", "must end in .safetensors"),
        ("x.safetensors", "is the file that is read"),
        ("blocked/y.safetensors", "cannot be written"),
    ],
)
def test_bad_outputs(output: str, said: str, tmp_path: Path) -> None:
    cfg = narrow_cfg()
    saved(cfg, tmp_path / "x.pth")
    source = tmp_path / "x.safetensors"
    write_model(read_published(cfg, str(tmp_path / "x.pth")), cfg, "c.yaml", source)
    (tmp_path / "blocked").write_text("a file where a folder should be")
    with pytest.raises(UserError, match=said):
        write_model(read_published(cfg, str(source)), cfg, "c.yaml", tmp_path / output)


def test_the_config_stays_as_it_is(tmp_path: Path) -> None:
    cfg = narrow_cfg()
    saved(cfg, tmp_path / "x.pth")
    before: Any = cfg.dump()
    cfg.freeze()
    read_published(cfg, str(tmp_path / "x.pth"))
    assert cfg.dump() == before
