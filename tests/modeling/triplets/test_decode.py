from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.triplets.decode import Candidates, Points, decode
from centernet2.modeling.triplets.maps import TripletMaps

from . import reference

NUM_CLASSES, HEIGHT, WIDTH = 2, 7, 9


def random_maps(seed: int, images: int) -> TripletMaps:
    """Scores all different, so that no order depends on rounding; tags and offsets often equal."""
    rng = np.random.default_rng(seed)

    def heat() -> torch.Tensor:
        count = images * NUM_CLASSES * HEIGHT * WIDTH
        p = (rng.permutation(count) + rng.uniform(0.3, 0.7)) / count
        logits = torch.tensor(np.log(p) - np.log1p(-p), dtype=torch.float32)
        return logits.view(images, NUM_CLASSES, HEIGHT, WIDTH)

    def tag() -> torch.Tensor:
        shape = (images, 1, HEIGHT, WIDTH)
        return torch.tensor(rng.choice([0.0, 0.25, 0.5, 0.75, 3.0], shape), dtype=torch.float32)

    def offset() -> torch.Tensor:
        shape = (images, 2, HEIGHT, WIDTH)
        return torch.tensor(rng.choice([0.0, 0.5, 0.75, 1.25], shape), dtype=torch.float32)

    return TripletMaps(heat(), heat(), tag(), tag(), offset(), offset(), heat(), offset())


def array(values: torch.Tensor) -> np.ndarray:
    return values.numpy().astype(np.float64)


def assert_points(found: Points, image: int, expected: list[reference.Peak]) -> None:
    np.testing.assert_allclose(found.scores[image], [p.score for p in expected], rtol=1e-6)
    strong = [i for i, p in enumerate(expected) if p.score > 0]  # zeros are in any order
    assert found.classes[image][strong].tolist() == [expected[i].label for i in strong]
    points = [[expected[i].x, expected[i].y] for i in strong]
    np.testing.assert_allclose(found.points[image][strong].reshape(-1, 2), points, atol=1e-6)


def table(pairs: list[reference.Pair]) -> np.ndarray:
    """One row a pair, in the order of its corners' scores, of which no two are equal."""
    ordered = sorted(pairs, key=lambda p: (p.tl_score, p.br_score))
    return np.array([(p.score, *p.box, p.tl_score, p.br_score, p.label) for p in ordered])


def found_pairs(found: Candidates, image: int) -> list[reference.Pair]:
    return [
        reference.Pair(float(score), tuple(box.tolist()), float(tl), float(br), int(label))
        for box, score, tl, br, label in zip(*(part[image] for part in found))
        if score >= 0
    ]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 3),
    top_k=st.integers(1, 12),
    threshold=st.sampled_from([0.25, 0.5, 10.0]),
)
def test_pairs_and_centers_match_the_reference(seed, images, top_k, threshold):
    maps = random_maps(seed, images)
    found, centers = decode(maps, top_k, threshold)
    for b in range(images):
        tl, br, ct = (
            reference.peaks(array(heat[b].sigmoid()), array(offset[b]), top_k)
            for heat, offset in (
                (maps.tl_heat, maps.tl_offset),
                (maps.br_heat, maps.br_offset),
                (maps.ct_heat, maps.ct_offset),
            )
        )
        assert_points(centers, b, ct)
        if tl[-1].score > 0 and br[-1].score > 0:
            tags = array(maps.tl_tag[b, 0]), array(maps.br_tag[b, 0])
            expected = reference.pairs(tl, br, *tags, threshold)
            pairs = found_pairs(found, b)
            assert len(pairs) == len(expected)
            np.testing.assert_allclose(table(pairs), table(expected), rtol=1e-6)
            scores = [p.score for p in pairs]
            assert scores == sorted(scores, reverse=True)
            np.testing.assert_allclose(scores, [p.score for p in expected], rtol=1e-6)


def test_only_the_best_pairs_are_kept_and_the_rest_is_filled_up():
    maps = random_maps(4, 2)
    everything, _ = decode(maps, 10, 10.0)
    assert everything.scores.shape == (2, 100)
    few, _ = decode(maps, 10, 10.0, max_pairs=3)
    assert few.scores.shape == (2, 3)
    torch.testing.assert_close(few.scores, everything.scores[:, :3])
    invalid = everything.scores < 0
    assert invalid.any() and everything.scores[invalid].eq(-1).all()


def test_top_k_is_over_all_classes_and_never_more_than_there_are():
    maps = random_maps(0, 1)
    _, centers = decode(maps, 10**4)
    assert centers.scores.shape == (1, NUM_CLASSES * HEIGHT * WIDTH)


def corners(tl: tuple[int, int], br: tuple[int, int], offset: float = 0.0) -> TripletMaps:
    """One top-left and one bottom-right corner at (row, column), sure of themselves."""
    heats = torch.full((2, 1, 1, HEIGHT, WIDTH), -30.0)
    heats[0, 0, 0][tl] = heats[1, 0, 0][br] = 3.0
    zero = torch.zeros(1, 1, HEIGHT, WIDTH)
    moved = torch.zeros(1, 2, HEIGHT, WIDTH)
    moved[0, :, br[0], br[1]] = offset
    return TripletMaps(heats[0], heats[1], zero, zero, torch.zeros_like(moved), moved)


def test_equal_positions_are_a_pair_and_turned_ones_are_none():
    def score(maps: TripletMaps) -> float:
        return float(decode(maps, 1)[0].scores[0, 0])

    sure = float(torch.tensor(3.0).sigmoid())
    assert score(corners((2, 3), (2, 3))) == sure
    assert score(corners((2, 3), (2, 3), offset=-0.01)) == -1
    assert score(corners((3, 3), (2, 5))) == -1
    assert score(corners((3, 3), (5, 2))) == -1


def test_the_tag_threshold_itself_still_pairs():
    maps = corners((1, 1), (4, 4))
    for difference, valid in ((0.5, True), (0.50001, False)):
        tagged = maps._replace(br_tag=maps.br_tag + difference)
        assert bool(decode(tagged, 1, 0.5)[0].scores[0, 0] > 0) is valid


def test_cornernet_has_no_centers_and_half_precision_works():
    maps = random_maps(1, 1)._replace(ct_heat=None, ct_offset=None)
    half = TripletMaps(*(None if m is None else m.half() for m in maps))
    found, centers = decode(half, 5)
    assert centers is None
    assert found.boxes.dtype == found.scores.dtype == torch.float32


def test_a_plateau_keeps_all_its_cells():
    """Equal neighbours are all local maxima, as in the published 3x3 filter."""
    maps = random_maps(1, 1)
    flat = maps._replace(ct_heat=torch.zeros_like(maps.ct_heat))
    _, centers = decode(flat, 5)
    assert centers.scores.tolist() == [[0.5] * 5]
