"""What of a checkpoint goes into a model, and what is said of the rest."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from centernet2.engine import Checkpointer
from centernet2.engine.weights_match import set_aside
from centernet2.errors import UserError


class Box(nn.Module):
    """A predictor of the box heads, with its published layer names."""

    def __init__(self, classes: int, boxes: int = 4) -> None:
        super().__init__()
        self.cls_score = nn.Linear(5, classes + 1)
        self.bbox_pred = nn.Linear(5, boxes)


class Detector(nn.Module):
    """The class layers of all heads behind a backbone."""

    def __init__(self, classes: int, boxes: int = 4) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 5)
        self.proposal_generator = nn.ModuleDict(
            {"centernet_head": nn.ModuleDict({"cls_logits": nn.Conv2d(5, classes, 3)})}
        )
        self.roi_heads = nn.ModuleDict(
            {
                "box_predictor": nn.ModuleList([Box(classes, boxes), Box(classes, boxes)]),
                "mask_head": nn.ModuleDict({"predictor": nn.Conv2d(5, classes, 1)}),
            }
        )
        self.register_buffer("pixel_mean", torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1), False)


class OneStage(Detector):
    """Its pixel statistics are among the weights."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("pixel_mean", torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1))


def load(model: nn.Module, state: dict[str, torch.Tensor], folder: Path) -> Checkpointer:
    torch.save({"model": state}, folder / "file.pth")
    checkpointer = Checkpointer(model)
    checkpointer.load(str(folder / "file.pth"))
    return checkpointer


LAYERS = [
    "proposal_generator.centernet_head.cls_logits",
    "roi_heads.box_predictor.0.cls_score",
    "roi_heads.box_predictor.1.cls_score",
    "roi_heads.mask_head.predictor",
]


def test_another_number_of_classes_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, model = Detector(80), Detector(10)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        match = load(model, source.state_dict(), tmp_path).match
    (record,) = caplog.records
    message = record.getMessage()
    assert "the file is for 80 classes, the model for 10. RE-INITIALISED" in message
    assert message.startswith(str(tmp_path / "file.pth"))
    assert all(layer in message for layer in LAYERS)
    assert match is not None
    assert match.aside.layers == LAYERS
    assert not match.complete and not match.missing and not match.unexpected
    assert not match.reshaped
    for name, value in model.state_dict().items():
        of_classes = name.rpartition(".")[0] in LAYERS
        assert torch.equal(value, before[name] if of_classes else source.state_dict()[name])


def test_boxes_for_each_class_change_with_the_classes(tmp_path: Path) -> None:
    match = load(Detector(10, boxes=40), Detector(80, boxes=320).state_dict(), tmp_path).match
    assert match is not None
    assert "roi_heads.box_predictor.0.bbox_pred" in match.aside.layers
    assert match.aside.classes == "the file is for 80 classes, the model for 10"


def test_boxes_for_all_classes_together_are_another_architecture(tmp_path: Path) -> None:
    match = load(Detector(10), Detector(10, boxes=40).state_dict(), tmp_path).match
    assert match is not None
    assert not match.aside.class_layers
    assert ("roi_heads.box_predictor.1.bbox_pred.bias", (40,), (4,)) in match.reshaped


def test_a_layer_that_differs_in_more_than_classes_is_reshaped() -> None:
    weights = {"roi_heads.box_predictor.0.cls_score.weight": torch.zeros(81, 7)}
    assert not set_aside(weights, Detector(10).state_dict()).class_layers
    assert len(weights) == 1


def test_left_overs_of_older_files_are_dropped_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = Detector(10).state_dict()
    old = {
        "roi_heads.box_predictor.0.freq_weight": torch.ones(10),
        "roi_heads.box_predictor.freq_weight": torch.ones(10),
        "backbone.base.fc.weight": torch.ones(1000, 512, 1, 1),
        "backbone.base.fc.bias": torch.ones(1000),
        "pixel_mean": torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1),
    }
    with caplog.at_level(logging.WARNING):
        match = load(Detector(10), {**state, **old}, tmp_path).match
    assert not caplog.records
    assert match is not None
    assert match.aside.left_over == list(old)
    assert match.complete and not match.unexpected


def test_a_layer_that_is_only_called_alike_is_not_dropped() -> None:
    weights = {"head.my_freq_weight": torch.ones(1), "backbone.fc.bias": torch.ones(1)}
    set_aside(weights, {})
    assert set(weights) == {"head.my_freq_weight", "backbone.fc.bias"}
    owned = {"backbone.base.fc.bias": torch.ones(1)}
    set_aside(owned, {"backbone.base.fc.bias": torch.ones(1)})
    assert owned


@pytest.mark.parametrize(("model", "used"), [(Detector, "config's"), (OneStage, "file's")])
def test_pixel_statistics_that_differ_are_told(
    model: type[Detector], used: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {
        **Detector(10).state_dict(),
        "pixel_mean": torch.tensor([3.0, 2.0, 1.0])[:, None, None],
    }
    loaded = model(10)
    with caplog.at_level(logging.WARNING):
        load(loaded, state, tmp_path)
    (record,) = caplog.records
    assert "its pixel_mean is [3.0, 2.0, 1.0], but MODEL.PIXEL_MEAN is [1.0, 2.0, 3.0]" in (
        record.getMessage()
    )
    assert "reverse order of colours" in record.getMessage()
    assert f"The {used} are used" in record.getMessage()
    first = 1.0 if used == "config's" else 3.0
    assert loaded.pixel_mean.flatten()[0] == first


def test_statistics_that_only_the_config_has_are_not_missing(tmp_path: Path) -> None:
    match = load(OneStage(10), Detector(10).state_dict(), tmp_path).match
    assert match is not None
    assert match.complete
    assert "pixel_mean" not in match.matched


def test_nothing_that_fits_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(Detector(10), nn.Linear(3, 3).state_dict(), tmp_path)
    text = str(error.value)
    assert "file.pth is of another architecture: none of its weights (such as weight)" in text
    assert "?matching_heuristics=True" in text


def test_nothing_that_fits_a_model_with_frozen_normalisations(tmp_path: Path) -> None:
    """They take their statistics as given when the file has none."""
    model = nn.Sequential(FrozenBatchNorm2d(4))
    with pytest.raises(UserError, match="another architecture"):
        load(model, nn.Linear(3, 3).state_dict(), tmp_path)


@pytest.mark.parametrize("query", ["", "?matching_heuristics=True"])
def test_nothing_that_fits_by_heuristics(tmp_path: Path, query: str) -> None:
    torch.save(nn.Conv2d(2, 3, 1).state_dict(), tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"none of its weights \(such as weight\)"):
        Checkpointer(Detector(10)).load(f"{tmp_path}/file.pth{query}")


def test_little_that_fits_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = Detector(10).state_dict()
    little = {"backbone.bias": state["backbone.bias"]}
    other = {f"other.{k}": v for k, v in state.items()}
    with caplog.at_level(logging.WARNING, logger="centernet2"):
        load(Detector(10), {**little, **other}, tmp_path)
    assert "only 1 of its 15 weights fit this model of 14" in caplog.text


def test_a_backbone_alone_is_no_other_architecture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(nn.Linear(3, 5).state_dict(), tmp_path / "imagenet.pth")
    model = Detector(10)
    with caplog.at_level(logging.WARNING, logger="centernet2"):
        Checkpointer(model).load(f"{tmp_path}/imagenet.pth?matching_heuristics=True")
    assert not [r for r in caplog.records if r.name.startswith("centernet2")]
    assert torch.equal(model.backbone.bias, torch.load(tmp_path / "imagenet.pth")["bias"])


class Trainer:
    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        raise AssertionError("the run must not go on")


def test_a_run_does_not_resume_with_other_classes(tmp_path: Path) -> None:
    Checkpointer(Detector(80), str(tmp_path), trainer=Trainer()).save("model", iteration=3)
    resumed = Checkpointer(Detector(10), str(tmp_path), trainer=Trainer())
    with pytest.raises(UserError, match="cannot be resumed: the file is for 80 classes"):
        resumed.load(resumed.get_checkpoint_file())
