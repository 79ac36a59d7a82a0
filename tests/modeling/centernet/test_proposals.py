"""The whole first stage against the references: losses and boxes from given output maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, ImageList, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from centernet2.modeling.centernet.box_batch import TargetParams
from centernet2.modeling.centernet.decode import DecodeParams
from centernet2.modeling.centernet.head import HeadOutputs
from centernet2.modeling.centernet.losses import LossParams
from centernet2.modeling.centernet.proposals import CenterNet

from ...layers import reference as loss_reference
from . import reference, reference_decode
from .scenes import NUM_CLASSES, Scene, scenes

MODES = ("detector", "agnostic", "both", "as_proposal")
FOCAL = {"alpha": 0.25, "beta": 4.0, "gamma": 2.0, "clamp": 1e-4, "ignore_high_fp": 0.9}


class _FixedHead(nn.Module):
    """Gives the same random maps whatever the features are."""

    def __init__(self, scene: Scene, mode: str, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        images = len(scene.boxes)

        def maps(channels: int, draw: Any) -> nn.ParameterList:
            shapes = [(images, channels, lv.height, lv.width) for lv in scene.levels]
            return nn.ParameterList(
                torch.tensor(draw(size=shape), dtype=torch.float32) for shape in shapes
            )

        self.classes = maps(NUM_CLASSES, lambda size: rng.normal(-1, 3, size))
        self.agnostic = maps(1, lambda size: rng.normal(-1, 3, size))
        self.boxes = maps(4, lambda size: rng.uniform(0, 3, size))
        self.mode = mode

    def forward(self, features: list[torch.Tensor]) -> HeadOutputs:
        return HeadOutputs(
            class_logits=None if self.mode == "agnostic" else list(self.classes),
            agnostic_logits=list(self.agnostic) if self.mode in ("agnostic", "both") else None,
            boxes=list(self.boxes),
        )


def _model(
    scene: Scene, mode: str, seed: int, loss_params: LossParams, **options: Any
) -> CenterNet:
    params = scene.params
    decode_params = {"score_thresh": 0.3, "pre_nms_topk": 12, "nms_thresh": 0.6}
    return CenterNet(
        centernet_head=_FixedHead(scene, mode, seed),
        in_features=[f"p{i}" for i in range(len(scene.levels))],
        strides=[lv.stride for lv in scene.levels],
        num_classes=NUM_CLASSES,
        only_proposal=mode == "agnostic",
        as_proposal=mode in ("both", "as_proposal"),
        target_params=TargetParams(params.soi, params.delta, params.min_radius),
        loss_params=loss_params,
        decode_train=DecodeParams(post_nms_topk=9, **decode_params),
        decode_test=DecodeParams(post_nms_topk=4, **decode_params),
        **options,
    )


def _forward(model: CenterNet, scene: Scene) -> tuple[Any, dict[str, torch.Tensor]]:
    height = max(h for h, _ in scene.image_sizes)
    width = max(w for _, w in scene.image_sizes)
    images = ImageList(torch.zeros(len(scene.boxes), 3, height, width), scene.image_sizes)
    features = {
        f"p{i}": torch.zeros(len(scene.boxes), 2, lv.height, lv.width)
        for i, lv in enumerate(scene.levels)
    }
    truth = []
    for size, boxes, classes in zip(scene.image_sizes, scene.boxes, scene.classes):
        instances = Instances(size)
        instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
        instances.gt_classes = torch.tensor(classes)
        truth.append(instances)
    return model(images, features, truth if model.training else None)


def _rows(maps: nn.ParameterList) -> np.ndarray:
    """(B * M, channels): image by image, level by level, row by row."""
    flat = []
    for image in range(maps[0].shape[0]):
        for level in maps:
            values = level[image].detach().double().numpy()
            flat.append(values.reshape(values.shape[0], -1).T)
    return np.concatenate(flat)


def _expected_losses(
    scene: Scene, head: _FixedHead, p: LossParams, more_pos: tuple[float, int] | None, clamp: bool
) -> dict[str, float]:
    per_image = len(reference.cells(scene.levels))
    boxes_pred = _rows(head.boxes)
    class_maps, agnostic_maps, positives, regression = [], [], [], {}
    for i, (boxes, classes) in enumerate(zip(scene.boxes, scene.classes)):
        size, first = (scene.image_sizes[i] if clamp else None), i * per_image
        setting = (scene.levels, boxes)
        class_maps.append(reference.heatmap(*setting, classes, NUM_CLASSES, scene.params, size))
        agnostic_maps.append(reference.heatmap(*setting, None, 1, scene.params, size))
        if more_pos is None:
            found = reference.positives(*setting, classes, scene.params, size)
        else:
            found = reference.more_positives(
                *setting,
                classes,
                scene.params,
                boxes_pred[first : first + per_image],
                lambda a, b: loss_reference.single_box_loss(a, b, p.loc_loss_type),
                *more_pos,
                size,
            )
        positives += [(first + m, cls) for m, cls in found]
        targets = reference.regression(*setting, scene.params, size)
        # Of equally near boxes the first
        regression.update((first + m, candidates[0]) for m, candidates in targets.items())

    num_pos = max(len(positives), 1)
    agnostic_map = np.concatenate(agnostic_maps)
    out = {}
    if head.mode != "agnostic":
        pos, neg = loss_reference.heatmap_focal_loss(
            _rows(head.classes),
            np.concatenate(class_maps),
            [m * NUM_CLASSES + cls for m, cls in positives],
            **FOCAL,
        )
        out["loss_centernet_pos"] = p.pos_weight * pos / num_pos
        out["loss_centernet_neg"] = p.neg_weight * neg / num_pos
    if head.mode in ("agnostic", "both"):
        pos, neg = loss_reference.heatmap_focal_loss(
            _rows(head.agnostic), agnostic_map, [m for m, _ in positives], **FOCAL
        )
        out["loss_centernet_agn_pos"] = p.pos_weight * pos / num_pos
        out["loss_centernet_agn_neg"] = p.neg_weight * neg / num_pos
    index = sorted(regression)
    weight = np.array([1.0 if p.not_norm_reg else agnostic_map[m, 0] for m in index])
    loss = loss_reference.distance_box_loss(
        boxes_pred[index], np.array([regression[m] for m in index]), weight, p.loc_loss_type
    )
    out["loss_centernet_loc"] = p.reg_weight * loss / max(weight.sum(), 1.0)
    return out


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    seed=st.integers(0, 2**31),
    not_clamp_box=st.booleans(),
    not_norm_reg=st.booleans(),
    kind=st.sampled_from(["giou", "iou", "linear_iou"]),
)
def test_losses_match_the_reference(mode, data, seed, not_clamp_box, not_norm_reg, kind):
    scene = data.draw(scenes(inside=not not_clamp_box, max_boxes=4))
    loss_params = LossParams(
        pos_weight=0.5,
        neg_weight=0.75,
        reg_weight=2.0,
        ignore_high_fp=FOCAL["ignore_high_fp"],
        loc_loss_type=kind,
        not_norm_reg=not_norm_reg,
    )
    model = _model(scene, mode, seed, loss_params, not_clamp_box=not_clamp_box)
    _, losses = _forward(model, scene)
    expected = _expected_losses(scene, model.centernet_head, loss_params, None, not_clamp_box)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert float(losses[name].detach()) == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("not_clamp_box", [True, False])
def test_losses_with_extra_positives_match_the_reference(mode, not_clamp_box):
    boxes = [[4.0, 6.0, 28.0, 30.0], [10.0, 30.0, 61.0, 63.0], [40.0, 2.0, 63.5, 20.0]]
    if not_clamp_box:
        boxes += [[50.0, -20.0, 90.0, 30.0]]
    levels = (reference.Level(16, 16, 4), reference.Level(8, 8, 8))
    params = reference.Params([[0, 24], [20, 1e6]], 0.8, 4.0)
    classes = np.arange(len(boxes)) % NUM_CLASSES
    scene = Scene(
        levels,
        params,
        [(64, 64), (60, 56)],
        [np.array(boxes), np.zeros((0, 4))],
        [classes, classes[:0]],
    )
    loss_params = LossParams(ignore_high_fp=FOCAL["ignore_high_fp"])
    model = _model(
        scene,
        mode,
        1,
        loss_params,
        more_pos=True,
        more_pos_thresh=0.75,
        more_pos_topk=6,
        not_clamp_box=not_clamp_box,
    )
    _, losses = _forward(model, scene)
    expected = _expected_losses(scene, model.centernet_head, loss_params, (0.75, 6), not_clamp_box)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert float(losses[name].detach()) == pytest.approx(value, rel=1e-4), name


def _two_images() -> Scene:
    levels = (reference.Level(6, 8, 8), reference.Level(3, 4, 16))
    params = reference.Params([[0, 24], [20, 1e6]], 0.8, 4.0)
    boxes = np.array([[4.0, 6.0, 28.0, 30.0], [10.0, 20.0, 51.0, 43.0]])
    return Scene(
        levels, params, [(48, 64), (40, 50)], [boxes, boxes[:1]], [np.array([0, 2]), np.array([1])]
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [True, False])
def test_boxes_match_the_reference(mode, training):
    scene = _two_images()
    model = _model(scene, mode, 5, LossParams()).train(training)
    found, losses = _forward(model, scene)
    assert bool(losses) == training
    if training and mode == "detector":
        return

    def probabilities(maps: nn.ParameterList, image: int) -> list[np.ndarray]:
        return [m[image].detach().double().sigmoid().numpy() for m in maps]

    head = model.centernet_head
    params = reference_decode.DecodeParams(0.3, 12, 9 if training else 4, 0.6)
    for image, instances in enumerate(found):
        agnostic = None
        if mode in ("agnostic", "both"):
            agnostic = [m[0] for m in probabilities(head.agnostic, image)]
        expected = reference_decode.decode_image(
            scene.levels,
            None if mode == "agnostic" else probabilities(head.classes, image),
            agnostic,
            [m[image].detach().double().numpy() for m in head.boxes],
            params,
        )
        assert instances.image_size == scene.image_sizes[image]
        if mode == "detector":
            boxes, scores = instances.pred_boxes, instances.scores
            assert instances.pred_classes.tolist() == [d.cls for d in expected]
        else:
            boxes, scores = instances.proposal_boxes, instances.objectness_logits
        assert not boxes.tensor.requires_grad
        assert not scores.requires_grad
        np.testing.assert_allclose(scores.numpy(), [d.score for d in expected], rtol=1e-5)
        np.testing.assert_allclose(
            boxes.tensor.numpy(), [d.box for d in expected], rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize("mode", MODES)
def test_every_output_gets_a_gradient_even_without_objects(mode):
    scene = _two_images()
    empty = scene._replace(boxes=[np.zeros((0, 4))] * 2, classes=[np.zeros(0, dtype=np.int64)] * 2)
    model = _model(empty, mode, 5, LossParams())
    _, losses = _forward(model, empty)
    sum(losses.values()).backward()
    outputs = model.centernet_head([])
    for maps in (outputs.class_logits, outputs.agnostic_logits, outputs.boxes):
        for tensor in maps or []:
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()
