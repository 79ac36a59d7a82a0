"""A network that says what the targets say: what is put in comes out."""

from __future__ import annotations

import pytest
import torch

from centernet2.errors import UserError
from centernet2.modeling.points.inference import InferenceSettings, detect
from centernet2.modeling.points.maps import PointMaps
from centernet2.modeling.points.targets import TargetSettings, make_targets

BOXES = torch.tensor([[20.0, 30, 90, 110], [100.0, 12, 180, 60], [90.0, 80, 100, 96]])
LABELS = torch.tensor([0, 1, 0])
JOINTS = torch.stack([BOXES[:, :2] + 3, BOXES[:, 2:] - 5], dim=1)
IMAGE = torch.full((3, 130, 201), 200.0)
PARTNERS = (1, 0)


def oracle(scale: float, left: float, top: float, step: float = 1.0, calls: list | None = None):
    """A network that knows where the objects are in what it is shown."""

    def move(points: torch.Tensor) -> torch.Tensor:
        return (points * scale / step) + torch.tensor([left, top])

    def network(pixels: torch.Tensor) -> PointMaps:
        if calls is not None:
            calls.append(tuple(pixels.shape))
        height, width = pixels.shape[2] // 4, pixels.shape[3] // 4
        maps = []
        for _ in pixels:
            boxes = move(BOXES.view(-1, 2, 2)).flatten(1)
            people = torch.cat([move(JOINTS), torch.ones(3, 2, 1)], dim=2)
            maps.append(_maps(boxes, people, (height, width)))
        return PointMaps(*(torch.cat(parts) for parts in zip(*maps)))

    return network


def _maps(boxes: torch.Tensor, people: torch.Tensor, size: tuple[int, int]) -> PointMaps:
    t = make_targets([boxes], [LABELS], size, 2, TargetSettings(), [people])
    dense = {c: torch.zeros(1, c, size[0] * size[1]) for c in (2, 4)}
    wh, reg, offset, hps = (dense[c].clone() for c in (2, 2, 2, 4))
    wh[0, :, t.centers.cell] = t.size.T
    reg[0, :, t.centers.cell] = t.centers.offset.T
    offset[0, :, t.joints.points.cell] = t.joints.points.offset.T
    hps.view(2, 2, -1)[t.joints.joint, :, t.joints.center] = t.joints.shift
    shaped = (m.view(1, -1, *size) for m in (wh, reg, hps, offset))
    wh, reg, hps, offset = shaped
    logits = (torch.logit(h.clamp(1e-6, 1 - 1e-6)) for h in (t.centers.heat, t.joints.points.heat))
    hm, hm_hp = logits
    return PointMaps(hm, wh, reg, hps, hm_hp, offset)


def check(found, atol: float = 0.01) -> None:
    assert (found.scores[:3] > 0.99).all()
    order = found.boxes[:3, 1].argsort()
    expected = BOXES[:, 1].argsort()
    torch.testing.assert_close(found.boxes[:3][order], BOXES[expected], atol=atol, rtol=0)
    assert found.classes[:3][order].tolist() == LABELS[expected].tolist()
    torch.testing.assert_close(found.joints[:3, :, :2][order], JOINTS[expected], atol=atol, rtol=0)


def test_images_of_their_own_size():
    # 130 x 201 becomes 160 x 224
    left, top = 112 - 100, 80 - 65
    found = detect([IMAGE], oracle(1, left, top), 32, InferenceSettings(top_k=20))[0]
    check(found)
    assert (found.scores[3:] < 0.5).all()


def test_images_in_a_square():
    step = 201 / 256
    left, top = 128 - 100.5 / step, 128 - 65 / step
    settings = InferenceSettings(top_k=20, fixed_size=256)
    check(detect([IMAGE], oracle(1, left, top, step), 32, settings)[0], atol=0.05)


def test_the_mirror_image_agrees():
    """What is seen in the mirror is the same, mirrored: the average changes nothing."""
    network = oracle(1, 12, 15)

    def with_mirrored(pixels: torch.Tensor) -> PointMaps:
        assert torch.equal(pixels[1], pixels[0].flip(-1))
        maps = network(pixels[:1])
        shifts = maps.hps.flip(-1).unflatten(1, (2, 2))[:, list(PARTNERS)].clone()
        shifts[:, :, 0] *= -1
        mirrored = PointMaps(
            maps.hm.flip(-1), maps.wh.flip(-1), torch.full_like(maps.reg, 77.0),
            shifts.flatten(1, 2), maps.hm_hp.flip(-1)[:, list(PARTNERS)],
            torch.full_like(maps.reg, 77.0),
        )  # fmt: skip
        return PointMaps(*(torch.cat(pair) for pair in zip(maps, mirrored)))

    image = IMAGE.clone()
    image[:, :, :100] = 0
    settings = InferenceSettings(top_k=20, mirror=True, partners=PARTNERS)
    check(detect([image], with_mirrored, 32, settings)[0])


def test_several_scales_are_merged():
    calls: list = []
    seen = []

    def network(pixels: torch.Tensor) -> PointMaps:
        scale = {160: 1.0, 96: 0.5}[pixels.shape[2]]
        seen.append(scale)
        height, width = int(130 * scale), int(201 * scale)
        left, top = pixels.shape[3] // 2 - width // 2, pixels.shape[2] // 2 - height // 2
        return oracle(scale, left, top, calls=calls)(pixels)

    settings = InferenceSettings(top_k=20, scales=(0.5, 1.0))
    found = detect([IMAGE], network, 32, settings)[0]
    assert seen == [0.5, 1.0]
    assert len(found.scores) == 40  # people are not limited
    # Each object is found twice; the second finding's score has decayed
    decayed = found.scores[(found.scores > 0.1) & (found.scores < 0.5)]
    assert len(decayed) >= 3
    # Of one size, the same, without the merging
    again = detect([IMAGE], network, 32, InferenceSettings(top_k=20))[0]
    assert (again.scores[:3] > 0.99).all()


def test_images_of_one_size_are_shown_together_and_found_alone():
    calls: list = []
    other = torch.zeros(3, 60, 60)
    network = oracle(1, 12, 15, calls=calls)
    found = detect([IMAGE, other, IMAGE], network, 32, InferenceSettings(top_k=20))
    assert sorted(calls) == [(1, 3, 64, 64), (2, 3, 160, 224)]
    check(found[0])
    assert len(found) == 3


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0)])
def test_no_scale_is_a_mistake(scales):
    with pytest.raises(UserError, match="TEST_SCALES is"):
        InferenceSettings(scales=scales)
