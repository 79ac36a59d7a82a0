from __future__ import annotations

import numpy as np
import torch

from centernet2.modeling.points.decode import Found
from centernet2.modeling.points.merging import join, keep_best, suppress
from centernet2.modeling.soft_nms import SoftNMSSettings


def random_found(seed: int, count: int, pose: bool = True) -> Found:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 3, (count, 2), generator=generator) * 50.0
    corner += 8 * torch.rand(count, 2, generator=generator)
    size = 20 + 30 * torch.rand(count, 2, generator=generator)
    joints = torch.rand(count, 5, 3, generator=generator)
    return Found(
        torch.cat([corner, corner + size], dim=1),
        torch.rand(count, generator=generator),
        torch.randint(0, 2, (count,), generator=generator),
        joints if pose else None,
    )


def plain_soft_nms(boxes: list, scores: list, floor: float) -> list[tuple[int, float]]:
    """Number and score of the boxes that stay, best first: the textbook's Gaussian soft-NMS."""
    left, kept = dict(enumerate(scores)), []
    while left:
        best = max(left, key=left.__getitem__)
        kept.append((best, left.pop(best)))
        for other in list(left):
            a, b = boxes[best], boxes[other]
            w = min(a[2], b[2]) - max(a[0], b[0]) + 1
            h = min(a[3], b[3]) - max(a[1], b[1]) + 1
            if w > 0 and h > 0:
                areas = [(r[2] - r[0] + 1) * (r[3] - r[1] + 1) for r in (a, b)]
                left[other] *= np.exp(-((w * h / (sum(areas) - w * h)) ** 2) / 0.5)
                if left[other] < floor:
                    del left[other]
    return kept


def test_scores_decay_class_by_class_and_joints_stay_with_their_boxes():
    for seed in range(5):
        found = random_found(seed, 40)
        settings = SoftNMSSettings(carry_scores=True, keep_stale=False, score_threshold=0.05)
        merged = keep_best(suppress(found, settings), None)
        expected = []
        for label in (0, 1):
            own = (found.classes == label).nonzero()[:, 0].tolist()
            kept = plain_soft_nms(found.boxes[own].tolist(), found.scores[own].tolist(), floor=0.05)
            expected += [(score, own[i]) for i, score in kept]
        expected.sort(reverse=True)
        rows = [i for _, i in expected]
        np.testing.assert_allclose(merged.scores, [s for s, _ in expected], rtol=1e-4)
        np.testing.assert_array_equal(merged.boxes, found.boxes[rows])
        np.testing.assert_array_equal(merged.joints, found.joints[rows])
        np.testing.assert_array_equal(merged.classes, found.classes[rows])
        assert len(rows) < 40


def test_what_was_taken_out_leaves_copies_behind_as_published():
    found = random_found(0, 40)
    stale = suppress(found, SoftNMSSettings(carry_scores=True, score_threshold=0.05))
    assert len(stale.scores) == 40
    rows = {tuple(row) for row in stale.boxes.tolist()}
    assert len(rows) < 40
    for box, joints in zip(stale.boxes, stale.joints):
        place = (found.boxes == box).all(dim=1).nonzero()[0, 0]
        torch.testing.assert_close(joints, found.joints[place])


def test_nothing_found():
    nothing = random_found(0, 0)
    merged = keep_best(suppress(join([nothing, nothing]), SoftNMSSettings(carry_scores=True)), 100)
    assert merged.boxes.shape == (0, 4) and merged.joints.shape == (0, 5, 3)


def test_the_best_and_those_as_good_as_the_last_of_them():
    found = random_found(0, 5, pose=False)._replace(scores=torch.tensor([0.1, 0.5, 0.9, 0.5, 0.5]))
    assert keep_best(found, 2).scores.tolist() == [0.8999999761581421, 0.5, 0.5, 0.5]
    assert len(keep_best(found, None).scores) == 5
    assert len(keep_best(found, 1).scores) == 1
    assert keep_best(join([found, found]), None).joints is None
