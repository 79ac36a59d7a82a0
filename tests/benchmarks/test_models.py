from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from centernet2.benchmarks.models import (
    Contestant,
    Scene,
    inference_step,
    read_contestants,
    train_step,
)
from centernet2.benchmarks.stages import count_proposals, measure_stages
from centernet2.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = str(CONFIGS / "small" / "CenterNet2_MobileNetV2_pennfudan.yaml")
UNTRAINED = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]
SCENE = Scene((64, 96), images=2, boxes=4)


@pytest.mark.parametrize("treatments", [(), ("fused",), ("fused", "bf16"), ("channels_last",)])
def test_inference_runs(treatments: tuple[str, ...]) -> None:
    step, model = inference_step(Contestant(SMALL, treatments), UNTRAINED, 2, SCENE)
    seen: list[torch.dtype] = []
    model.backbone.register_forward_hook(
        lambda _, __, out: seen.append(next(iter(out.values())).dtype)
    )
    step(0)
    assert seen == [torch.bfloat16 if "bf16" in treatments else torch.float32]


def test_training_runs_and_keeps_the_weights() -> None:
    step, model = train_step(Contestant(SMALL), UNTRAINED, 2, SCENE)
    before = [p.detach().clone() for p in model.parameters()]
    step(0)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    for old, new in zip(before, model.parameters()):
        torch.testing.assert_close(old, new, atol=1e-4, rtol=1e-4)


def test_federated_loss_has_its_frequencies() -> None:
    fed = ["MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", "True", "MODEL.ROI_BOX_HEAD.USE_FED_LOSS", "True"]
    step, _ = train_step(Contestant(SMALL), [*UNTRAINED, *fed], 1, SCENE)
    step(0)


def test_models_of_detectron2_and_torchvision_are_peers() -> None:
    name = "torchvision:ssdlite320_mobilenet_v3_large"
    step, model = inference_step(Contestant(name, ("fused", "bf16")), [], 1, SCENE)
    seen: list[torch.dtype] = []
    model.backbone.register_forward_hook(
        lambda _, __, out: seen.append(next(iter(out.values())).dtype)
    )
    step(0)
    assert seen == [torch.bfloat16]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    name = "detectron2:COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
    step, model = inference_step(Contestant(name), UNTRAINED, 1, SCENE)
    assert type(model).__module__.startswith("detectron2.")
    # Without care the boxes of an untrained network degenerate
    assert count_proposals(step, model) > 50
    found = []
    hook = model.proposal_generator.register_forward_hook(lambda _, __, out: found.extend(out[0]))
    step(0)
    hook.remove()
    sides = found[0].proposal_boxes.tensor[:, 2:] - found[0].proposal_boxes.tensor[:, :2]
    assert 10 < float(sides.median()) < 70  # anchors of the finest level, clipped to the image


def test_objects_as_points_are_timed() -> None:
    config = CONFIGS / "small" / "ObjectsAsPoints_MobileNetV2_pennfudan.yaml"
    step, _ = inference_step(Contestant(str(config), ("fused",)), UNTRAINED, 1, SCENE)
    step(0)
    # The random objects are of the one class of this model, not of MODEL.ROI_HEADS.NUM_CLASSES
    step, model = train_step(Contestant(str(config)), UNTRAINED, 1, SCENE)
    step(0)
    assert all(p.grad is not None for p in model.head.parameters())


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("a.yaml+fast", "fast is no treatment for inference"),
        ("a.yaml+checkpointed", "checkpointed is no treatment for inference"),
    ],
)
def test_unknown_treatments_are_named(word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_contestants([word], "inference")


def test_models_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="named twice"):
        read_contestants(["x/a.yaml", "y/a.yaml"], "inference")
    assert [c.name for c in read_contestants(["a.yaml", "a.yaml+fused"], "inference")] == [
        "a",
        "a fused",
    ]


@pytest.mark.parametrize("source", ["torchvision:resnet50", "detectron2:none.yaml"])
def test_absent_models_are_named(source: str) -> None:
    with pytest.raises(UserError, match=source.partition(":")[2]):
        inference_step(Contestant(source), [], 1, SCENE)


def test_stages_add_up() -> None:
    step, model = inference_step(Contestant(SMALL), UNTRAINED, 1, SCENE)
    parts = measure_stages(step, model, repeat=2)
    assert list(parts) == ["backbone", "head", "outside", "total"]
    for i in range(2):
        total = sum(parts[name].wall[i] for name in ("backbone", "head", "outside"))
        assert total == pytest.approx(parts["total"].wall[i])
    assert min(min(times.wall) for times in parts.values()) > 0
    assert not model.backbone._forward_hooks
