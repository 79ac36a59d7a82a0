from __future__ import annotations

import numpy as np
import torch

from centernet2.modeling.points.maps import PointMaps
from centernet2.modeling.points.mirror import average_with_mirrored

PARTNERS = [0, 2, 1, 3]


def random_maps(seed: int, pose: bool = True) -> PointMaps:
    generator = torch.Generator().manual_seed(seed)
    channels = (3, 2, 2, 8, 4, 2) if pose else (3, 2, 2)
    return PointMaps(*(torch.rand(2, c, 5, 7, generator=generator).double() for c in channels))


def test_each_cell_is_averaged_with_its_mirror_image():
    maps, mirrored = random_maps(0), random_maps(1)
    found = average_with_mirrored(maps, mirrored, PARTNERS)
    expected = {name: part.numpy().copy() for name, part in maps._asdict().items()}
    for i in range(2):
        for y in range(5):
            for x in range(7):
                there = (i, slice(None), y, 6 - x)
                here = (i, slice(None), y, x)
                for name in ("hm", "wh"):
                    other = getattr(mirrored, name)[there].numpy()
                    expected[name][here] = (expected[name][here] + other) / 2
                for j, partner in enumerate(PARTNERS):
                    other = mirrored.hm_hp[there][partner].item()
                    value = expected["hm_hp"][i, j, y, x]
                    expected["hm_hp"][i, j, y, x] = (value + other) / 2
                    for axis, sign in ((0, -1), (1, 1)):
                        other = sign * mirrored.hps[there][2 * partner + axis].item()
                        value = expected["hps"][i, 2 * j + axis, y, x]
                        expected["hps"][i, 2 * j + axis, y, x] = (value + other) / 2
    for name, value in found._asdict().items():
        np.testing.assert_allclose(value, expected[name], err_msg=name)
    # Offsets are those of the image alone
    assert found.reg is maps.reg and found.hp_offset is maps.hp_offset


def test_a_symmetric_answer_changes_nothing():
    maps = random_maps(3)
    shifts = maps.hps.flip(-1).unflatten(1, (4, 2))[:, PARTNERS]
    shifts = shifts * torch.tensor([-1.0, 1]).view(2, 1, 1)
    mirrored = maps._replace(
        hm=maps.hm.flip(-1), wh=maps.wh.flip(-1), hps=shifts.flatten(1, 2),
        hm_hp=maps.hm_hp.flip(-1)[:, PARTNERS],
    )  # fmt: skip
    for a, b in zip(average_with_mirrored(maps, mirrored, PARTNERS), maps):
        torch.testing.assert_close(a, b)


def test_without_pose():
    found = average_with_mirrored(random_maps(0, False), random_maps(1, False))
    assert found.hps is None and found.hm_hp is None
