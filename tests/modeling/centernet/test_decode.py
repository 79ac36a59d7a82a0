from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import centernet2.modeling.centernet.decode as decode_module
from centernet2.modeling.centernet.decode import DecodeParams, decode
from centernet2.modeling.centernet.grid import make_grid

from . import reference_decode as reference
from .reference import Level

NUM_CLASSES = 3


class Maps(NamedTuple):
    """Outputs of the head, one (B, channels, H, W) array a level; scores are probabilities."""

    levels: tuple[Level, ...]
    class_scores: list[np.ndarray] | None
    agnostic_scores: list[np.ndarray] | None
    distances: list[np.ndarray]


def _random_maps(seed: int, images: int, mode: str, levels: tuple[Level, ...]) -> Maps:
    rng = np.random.default_rng(seed)

    def scores(channels: int) -> list[np.ndarray]:
        # All scores of a map differ, so that no order depends on rounding.
        out = []
        for lv in levels:
            count = images * channels * lv.height * lv.width
            values = (rng.permutation(count) + rng.uniform(0.2, 0.8)) / count
            out.append(values.reshape(images, channels, lv.height, lv.width))
        return out

    distances = []
    for lv in levels:
        shape = (images, 4, lv.height, lv.width)
        empty = rng.uniform(size=shape) < 0.15
        distances.append(np.where(empty, 0.0, rng.uniform(0, 3, shape)).astype(np.float32))
    return Maps(
        levels,
        scores(NUM_CLASSES) if mode != "agnostic" else None,
        scores(1) if mode != "class" else None,
        distances,
    )


def _logits(scores: list[np.ndarray] | None) -> list[torch.Tensor] | None:
    if scores is None:
        return None
    return [torch.tensor(np.log(p) - np.log1p(-p), dtype=torch.float32) for p in scores]


def _params(params: reference.DecodeParams) -> DecodeParams:
    return DecodeParams(
        score_thresh=params.score_threshold,
        pre_nms_topk=params.pre_nms_topk,
        post_nms_topk=params.post_nms_topk,
        nms_thresh=params.nms_threshold,
        not_nms=params.not_nms,
        center_nms=params.center_nms,
    )


def _decode(maps: Maps, params: reference.DecodeParams) -> list[Instances]:
    levels = maps.levels
    grid = make_grid([(lv.height, lv.width) for lv in levels], [lv.stride for lv in levels])
    images = maps.distances[0].shape[0]
    return decode(
        grid,
        _logits(maps.class_scores),
        _logits(maps.agnostic_scores),
        [torch.tensor(d) for d in maps.distances],
        [(48, 64)] * images,
        _params(params),
    )


def _reference(maps: Maps, image: int, params: reference.DecodeParams) -> list[reference.Detection]:
    classes, agnostic = maps.class_scores, maps.agnostic_scores
    return reference.decode_image(
        maps.levels,
        None if classes is None else [m[image] for m in classes],
        None if agnostic is None else [m[image, 0] for m in agnostic],
        [m[image] for m in maps.distances],
        params,
    )


def _clear_cut(maps: Maps, image: int, params: reference.DecodeParams) -> bool:
    """No two scores, no score and threshold, no overlap and threshold meet within rounding."""
    everything = params._replace(pre_nms_topk=10**6, post_nms_topk=10**6, not_nms=True)
    found = _reference(maps, image, everything)
    scores = np.sort([d.score for d in found])
    if (np.diff(scores) < 1e-6).any():
        return False
    first = maps.class_scores if maps.class_scores is not None else maps.agnostic_scores
    if any((np.abs(m[image] - params.score_threshold) < 1e-6).any() for m in first):
        return False
    if params.not_nms or params.center_nms:
        return True
    by_class = [[d for d in found if d.cls == c] for c in range(NUM_CLASSES)]
    overlaps = [reference.box_iou(a.box, b.box) for same in by_class for a in same for b in same]
    return not (np.abs(np.array(overlaps) - params.nms_threshold) < 1e-4).any()


def _assert_same(got: Instances, expected: list[reference.Detection]) -> None:
    assert len(got) == len(expected)
    np.testing.assert_allclose(got.scores.numpy(), [d.score for d in expected], rtol=1e-5)
    assert got.pred_classes.tolist() == [d.cls for d in expected]
    boxes = np.array([d.box for d in expected]).reshape(-1, 4)
    np.testing.assert_allclose(got.pred_boxes.tensor.numpy(), boxes, rtol=1e-5, atol=1e-4)


_LEVELS = st.sampled_from(
    [
        (Level(6, 8, 8), Level(3, 4, 16)),
        (Level(5, 7, 8), Level(3, 4, 16), Level(2, 2, 32)),
        (Level(1, 9, 4),),
    ]
)


@pytest.mark.parametrize(
    ("mode", "suppression"),
    [
        ("class", "nms"),
        ("class", "not_nms"),
        ("class", "center_nms"),
        ("agnostic", "nms"),
        ("agnostic", "not_nms"),
        ("agnostic", "center_nms"),
        ("both", "nms"),
        ("both", "not_nms"),
    ],
)
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 3),
    levels=_LEVELS,
    threshold=st.sampled_from([0.0001, 0.05, 0.5, 0.9]),
    pre=st.sampled_from([1, 5, 20, 1000]),
    post=st.sampled_from([1, 7, 256]),
    nms=st.sampled_from([0.3, 0.6, 0.9]),
)
def test_random_maps_match_the_reference(
    mode, suppression, seed, images, levels, threshold, pre, post, nms
):
    params = reference.DecodeParams(
        threshold,
        pre,
        post,
        nms,
        not_nms=suppression == "not_nms",
        center_nms=suppression == "center_nms",
    )
    maps = _random_maps(seed, images, mode, levels)
    assume(all(_clear_cut(maps, i, params) for i in range(images)))
    found = _decode(maps, params)
    assert len(found) == images
    for i in range(images):
        _assert_same(found[i], _reference(maps, i, params))


LEVEL = (Level(4, 4, 8),)
ALL = reference.DecodeParams(0.05, 1000, 1000, 0.6)


def _one_level(score: np.ndarray, agnostic: np.ndarray | None = None, side: float = 0.5) -> Maps:
    """Maps of one image and one class with boxes of `2 * side` strides."""
    return Maps(
        LEVEL,
        [score[None, None]],
        None if agnostic is None else [agnostic[None, None]],
        [np.full((1, 4, 4, 4), side, dtype=np.float32)],
    )


def test_threshold_holds_for_the_class_score_before_the_agnostic_one_is_multiplied():
    score, agnostic = np.full((4, 4), 0.01), np.full((4, 4), 0.01)
    score[1, 2] = 0.06
    (found,) = _decode(_one_level(score, agnostic), ALL)
    assert found.scores.tolist() == pytest.approx([(0.06 * 0.01) ** 0.5], rel=1e-5)


def test_class_score_at_the_threshold_is_no_candidate():
    (found,) = _decode(_one_level(np.full((4, 4), 0.5)), ALL._replace(score_threshold=0.5))
    assert len(found) == 0


def test_topk_of_a_level_goes_by_the_product():
    score, agnostic = np.full((4, 4), 0.5), np.full((4, 4), 0.1)
    score[0, 0], agnostic[0, 0] = 0.9, 0.1
    score[3, 3], agnostic[3, 3] = 0.6, 0.9
    (found,) = _decode(_one_level(score, agnostic), ALL._replace(pre_nms_topk=1))
    assert found.scores.tolist() == pytest.approx([0.54**0.5], rel=1e-5)


def test_class_scores_alone_get_no_square_root():
    score = np.full((4, 4), 0.01)
    score[0, 1] = 0.36
    (found,) = _decode(_one_level(score), ALL)
    assert found.scores.tolist() == pytest.approx([0.36], rel=1e-5)
    # Location (12, 4), half a stride of 8 to each side
    np.testing.assert_allclose(found.pred_boxes.tensor.numpy(), [[8.0, 0.0, 16.0, 8.0]])


def test_boxes_have_a_least_side_and_are_not_clipped():
    score = np.full((4, 4), 0.01)
    score[0, 0] = 0.5
    maps = _one_level(score)
    maps.distances[0][:] = 0.0
    (found,) = _decode(maps, ALL)
    np.testing.assert_allclose(found.pred_boxes.tensor.numpy(), [[4, 4, 4.01, 4.01]], atol=1e-5)
    maps.distances[0][:] = 2.0
    (found,) = _decode(maps, ALL)
    np.testing.assert_allclose(found.pred_boxes.tensor.numpy(), [[-12, -12, 20, 20]])


@pytest.mark.parametrize("field", ["pre_nms_topk", "post_nms_topk"])
def test_ties_do_not_exceed_the_topk(field):
    (found,) = _decode(_one_level(np.full((4, 4), 0.5), side=0.2), ALL._replace(**{field: 5}))
    assert len(found) == 5


def test_suppression_is_per_class():
    same_place = np.full((1, 2, 4, 4), 0.01)
    same_place[0, :, 1, 1] = [0.9, 0.8]
    same_place[0, 0, 1, 2] = 0.7
    # Boxes of 24 pixels, neighbours 8 apart: their IoU is 16 / 32.
    maps = Maps(LEVEL, [same_place], None, [np.full((1, 4, 4, 4), 1.5, dtype=np.float32)])
    (found,) = _decode(maps, ALL._replace(nms_threshold=0.5))
    assert found.pred_classes.tolist() == [0, 1, 0]
    (found,) = _decode(maps, ALL._replace(nms_threshold=0.49))
    assert found.pred_classes.tolist() == [0, 1]


def test_box_that_sticks_out_at_the_top_left_suppresses_no_other_class():
    # Boxes have negative coordinates here, which shifting classes apart must allow for.
    levels = (Level(8, 8, 8),)
    scores = np.full((1, 2, 8, 8), 0.01)
    scores[0, 0, 7, 7], scores[0, 1, 0, 0] = 0.9, 0.8
    distances = np.zeros((1, 4, 8, 8), dtype=np.float32)
    distances[0, :2] = 3.0
    maps = Maps(levels, [scores], None, [distances])
    params = ALL._replace(nms_threshold=0.4)
    _assert_same(_decode(maps, params)[0], _reference(maps, 0, params))


def test_suppression_is_exact_with_as_many_classes_as_lvis():
    levels, last = (Level(12, 12, 4),), 1202
    rng = np.random.default_rng(0)
    scores = np.full((1, last + 1, 12, 12), 0.01)
    scores[0, last] = (rng.permutation(144).reshape(12, 12) + 50) / 200
    # One far corner, as in a large image: it sets the scale of the coordinates
    distances = rng.uniform(0.5, 2.0, (1, 4, 12, 12)).astype(np.float32)
    distances[0, 2:, 11, 11] = 330.0
    maps = Maps(levels, [scores], None, [distances])
    _assert_same(_decode(maps, ALL)[0], _reference(maps, 0, ALL))


def test_suppression_reaches_across_levels():
    levels = (Level(4, 4, 8), Level(2, 2, 16))
    fine, coarse = np.full((1, 1, 4, 4), 0.01), np.full((1, 1, 2, 2), 0.01)
    fine[0, 0, 1, 1], coarse[0, 0, 0, 0] = 0.9, 0.8  # locations (12, 12) and (8, 8)
    distances = [
        np.full((1, 4, 4, 4), 2.0, dtype=np.float32),
        np.full((1, 4, 2, 2), 1.0, dtype=np.float32),
    ]
    maps = Maps(levels, [fine, coarse], None, distances)
    assert len(_decode(maps, ALL._replace(nms_threshold=0.3))[0]) == 1
    assert len(_decode(maps, ALL._replace(not_nms=True))[0]) == 2


def test_overlapping_local_maxima_stay_with_center_nms():
    score = np.full((4, 4), 0.1)
    score[0, 0], score[0, 2], score[0, 1] = 0.9, 0.8, 0.7
    (found,) = _decode(_one_level(score, side=4.0), ALL._replace(center_nms=True))
    # The far corner's plateau of equal values is its own maximum.
    assert found.scores.tolist()[:2] == pytest.approx([0.9, 0.8], rel=1e-5)
    assert 0.7 not in np.round(found.scores.numpy(), 5)


@pytest.mark.parametrize("mode", ["class", "agnostic", "both"])
def test_nothing_above_the_threshold(mode):
    maps = _random_maps(0, 2, mode, (Level(3, 4, 8), Level(2, 2, 16)))
    for found in _decode(maps, ALL._replace(score_threshold=0.9999)):
        assert len(found) == 0
        assert found.pred_boxes.tensor.shape == (0, 4)
        assert found.pred_classes.dtype == torch.int64


def test_maps_are_left_as_they_were_and_boxes_carry_no_gradient():
    grid = make_grid([(4, 4)], [8])
    logits = torch.randn(2, NUM_CLASSES, 4, 4, requires_grad=True)
    agnostic = torch.randn(2, 1, 4, 4, requires_grad=True)
    distances = torch.rand(2, 4, 4, 4, requires_grad=True)
    before = [t.detach().clone() for t in (logits, agnostic, distances)]
    found = decode(grid, [logits], [agnostic], [distances], [(32, 32)] * 2, _params(ALL))
    for instances in found:
        assert not instances.scores.requires_grad
        assert not instances.pred_boxes.tensor.requires_grad
    for tensor, old in zip((logits, agnostic, distances), before):
        assert torch.equal(tensor, old)


def test_channels_last_maps_give_the_same():
    torch.manual_seed(4)
    grid = make_grid([(4, 6)], [8])
    logits, distances = torch.randn(2, NUM_CLASSES, 4, 6), torch.rand(2, 4, 4, 6)
    plain = decode(grid, [logits], None, [distances], [(32, 48)] * 2, _params(ALL))
    last = torch.channels_last
    logits, distances = logits.to(memory_format=last), distances.to(memory_format=last)
    other = decode(grid, [logits], None, [distances], [(32, 48)] * 2, _params(ALL))
    for a, b in zip(plain, other):
        torch.testing.assert_close(a.scores, b.scores)
        torch.testing.assert_close(a.pred_boxes.tensor, b.pred_boxes.tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_of_large_images_overflow_nowhere(dtype):
    levels = (Level(2, 12, 128),)
    grid = make_grid([(2, 12)], [128])
    torch.manual_seed(6)
    logits = torch.randn(1, 1, 2, 12).to(dtype)
    distances = (torch.rand(1, 4, 2, 12) * 12).to(dtype)
    (found,) = decode(grid, None, [logits], [distances], [(256, 1536)], _params(ALL))
    score = logits.double().sigmoid().numpy()
    maps = Maps(levels, None, [score], [distances.double().numpy()])
    expected = _reference(maps, 0, ALL)
    assert found.pred_boxes.tensor.dtype == torch.float32
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.scores.numpy(), [d.score for d in expected], rtol=1e-3)
    boxes = np.array([d.box for d in expected])
    np.testing.assert_allclose(found.pred_boxes.tensor.numpy(), boxes, rtol=1e-4, atol=1e-2)


def test_neither_class_nor_agnostic_maps_is_an_error():
    grid = make_grid([(4, 4)], [8])
    with pytest.raises(ValueError, match="agnostic"):
        decode(grid, None, None, [torch.rand(1, 4, 4, 4)], [(32, 32)], _params(ALL))


@pytest.mark.parametrize("overlapping", [True, False])
def test_suppressing_the_best_first_changes_nothing(overlapping, monkeypatch):
    # With boxes that nearly all overlap the best are not enough, and all are asked
    torch.manual_seed(0)
    count = 400
    corner = torch.rand(count, 2) * (20 if overlapping else 2000)
    boxes = torch.cat([corner, corner + 50 + torch.rand(count, 2)], dim=1)
    scores = torch.rand(count).mul(20).round() / 20  # many ties
    classes = torch.randint(0, 2, (count,))
    params = DecodeParams(0.0, count, 16, 0.5)
    found = []
    for multiple in (4, count):
        monkeypatch.setattr(decode_module, "SUPPRESSED_FIRST", multiple)
        found.append(decode_module._select(boxes, scores, classes, (2100, 2100), params))
    few, all_at_once = found
    assert torch.equal(few.pred_boxes.tensor, all_at_once.pred_boxes.tensor)
    assert torch.equal(few.scores, all_at_once.scores)
    assert (len(few) < 16) == overlapping
