"""The meta-architectures: supervision of all stacks, batches of any kind, detections, mistakes."""

from __future__ import annotations

import math

import pytest
import torch

from centernet2.errors import UserError
from centernet2.modeling.triplets.losses import triplet_losses
from centernet2.modeling.triplets.targets import make_targets

ARCHITECTURES = ["CenterNetTriplets", "CornerNet"]
CORNER_LOSSES = {
    "loss_tl_heat", "loss_br_heat", "loss_tl_offset", "loss_br_offset", "loss_pull", "loss_push",
}  # fmt: skip
CENTER_LOSSES = {"loss_ct_heat", "loss_ct_offset"}


def names(architecture):
    return CORNER_LOSSES | (CENTER_LOSSES if architecture == "CenterNetTriplets" else set())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("counts", [[3, 0], [2], [0], [200]])
def test_a_step_gives_finite_losses_and_a_gradient_everywhere(
    architecture, counts, narrow, make_batch
):
    model = narrow(architecture).train()
    losses = model(make_batch(counts, num_classes=3))
    assert losses.keys() == names(architecture)
    assert all(math.isfinite(value.item()) for value in losses.values()), losses
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_mixed_precision_changes_the_losses_little(architecture, narrow, make_batch):
    model = narrow(architecture).train()
    batch = make_batch([3, 1], num_classes=3)
    plain = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(batch)
    for name, value in plain.items():
        assert mixed[name].dtype == torch.float32
        torch.testing.assert_close(mixed[name], value, rtol=0.1, atol=0.05)
    sum(mixed.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_losses_are_means_over_the_stacks(narrow, make_batch):
    model = narrow("CenterNetTriplets", "MODEL.HOURGLASS.NUM_STACKS", 3).train()
    batch = make_batch([3, 1], height=63, width=60, num_classes=3)
    losses = model(batch)

    pixels = torch.zeros(2, 3, 63, 63)
    for place, sample in zip(pixels, batch):
        place[:, :, :60] = sample["image"]
    mean = torch.tensor([104.0, 114.0, 120.0]).view(3, 1, 1)
    std = torch.tensor([74.0, 70.0, 71.0]).view(3, 1, 1)
    features = model.backbone((pixels - mean) / std)
    instances = [sample["instances"] for sample in batch]
    targets = make_targets(
        [x.gt_boxes.tensor for x in instances], [x.gt_classes for x in instances],
        (63, 63), (16, 16), 3, model.targets,
    )  # fmt: skip
    expected = [
        triplet_losses(model.heads(feature, stack), targets, model.losses)
        for stack, feature in enumerate(features.values())
    ]
    assert len(expected) == 3
    for name, value in losses.items():
        mean_value = sum(e[name] for e in expected) / 3
        torch.testing.assert_close(value, mean_value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_detections_lie_in_the_output_image_best_first(architecture, narrow, randomise, make_batch):
    model = randomise(narrow(architecture, "MODEL.TRIPLETS.TAG_THRESHOLD", 5.0)).eval()
    batch = make_batch([1, 1, 1], height=75, width=50)
    batch[1]["image"] = batch[1]["image"][:, :40]
    batch[1].update(height=80, width=200)
    del batch[2]["height"], batch[2]["width"]
    with torch.no_grad():
        results = [r["instances"] for r in model(batch)]
    assert [r.image_size for r in results] == [(75, 50), (80, 200), (75, 50)]
    for found in results:
        height, width = found.image_size
        boxes = found.pred_boxes.tensor
        assert len(found) > 0
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= width + 0.01).all() and (boxes[:, 3] <= height + 0.01).all()
        assert (found.scores.diff() <= 0).all()
        assert found.pred_classes.max() < 3


def test_an_image_is_found_the_same_in_any_company(narrow, randomise, make_batch):
    model = randomise(narrow("CornerNet", "MODEL.TRIPLETS.TAG_THRESHOLD", 5.0)).eval()
    batch = make_batch([1, 1], height=75, width=50)
    with torch.no_grad():
        together = [r["instances"] for r in model(batch)]
        alone = [model([x])[0]["instances"] for x in batch]
    for a, b in zip(together, alone):
        assert torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
        assert torch.equal(a.scores, b.scores)


def test_only_the_last_stack_is_asked_at_test_time(narrow, make_batch):
    model = narrow("CenterNetTriplets").eval()
    asked = []
    model.heads.register_forward_hook(lambda _, given, __: asked.append(given[1]))
    with torch.no_grad():
        model(make_batch([1]))
    assert asked == [1]


def test_cornernet_has_no_centres_whatever_the_key_says(narrow):
    model = narrow("CornerNet", "MODEL.TRIPLETS.CENTRAL_REGION", True)
    assert not [name for name, _ in model.named_parameters() if ".ct_" in name]
    assert not model.targets.centers


def test_normalisations_start_as_in_the_published_training_or_from_ones(narrow):
    def weights(model):
        return [p for n, p in model.named_parameters() if n.endswith((".bn1.weight", ".bn.weight"))]

    published = torch.cat([w.detach() for w in weights(narrow("CornerNet"))])
    assert 0 <= published.min() < 0.05 and 0.95 < published.max() <= 1
    assert published.mean().item() == pytest.approx(0.5, abs=0.05)
    plain = weights(narrow("CornerNet", "MODEL.TRIPLETS.UNIFORM_NORM_INIT", False))
    assert all((w == 1).all() for w in plain)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("CENTER_MATCH", "nearest", "MODEL.TRIPLETS.CENTER_MATCH is 'nearest'; choose one of"),
        ("NMS_METHOD", "soft", "MODEL.TRIPLETS.NMS_METHOD is 'soft'; choose one of 'gaussian'"),
        ("TEST_SCALES", [], "MODEL.TRIPLETS.TEST_SCALES is"),
        ("TEST_SCALES", [1.0, 0.0], "MODEL.TRIPLETS.TEST_SCALES is"),
    ],
)
def test_mistakes_in_keys_are_named(key, value, message, narrow):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        narrow("CornerNet", f"MODEL.TRIPLETS.{key}", value)


def test_scales_without_1_have_no_centres(narrow, make_batch):
    scales = ["MODEL.TRIPLETS.TEST_SCALES", [0.5, 2.0]]
    with pytest.raises(UserError, match=r"lacks 1\.0.*CENTERS_OF_SCALE_ONE"):
        narrow("CenterNetTriplets", *scales).eval()(make_batch([1]))
    narrow("CornerNet", *scales).eval()(make_batch([1]))
    every = ["MODEL.TRIPLETS.CENTERS_OF_SCALE_ONE", False]
    narrow("CenterNetTriplets", *scales, *every).eval()(make_batch([1]))


def test_a_backbone_of_other_strides_is_refused(narrow):
    with pytest.raises(UserError, match=r"maps of stride 4.*build_resnet_backbone"):
        narrow("CornerNet", "MODEL.BACKBONE.NAME", "build_resnet_backbone")
