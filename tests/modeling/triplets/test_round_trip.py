"""Targets, taken for the network's maps, give back the boxes that they were made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.data.datasets import load_coco_json
from torchvision.ops import box_iou

from centernet2.modeling.peaks import Keypoints
from centernet2.modeling.triplets.inference import InferenceSettings, detect
from centernet2.modeling.triplets.maps import TripletMaps
from centernet2.modeling.triplets.targets import TargetSettings, make_targets

MULTIPLE = 128


def perfect_maps(
    boxes: torch.Tensor, classes: torch.Tensor, size: tuple[int, int], num_classes: int
) -> TripletMaps:
    """Maps of one image of ``size`` that are sure of each keypoint, and of nothing else."""
    output = (size[0] + 1) // 4, (size[1] + 1) // 4
    targets = make_targets([boxes], [classes], size, output, num_classes, TargetSettings())

    def spread(keypoints: Keypoints, values: torch.Tensor) -> torch.Tensor:
        flat = torch.zeros(values.shape[1], output[0] * output[1])
        flat[:, keypoints.cell] = values.T
        return flat.view(1, -1, *output)

    tags = 10.0 * torch.arange(len(boxes))[:, None]  # farther apart than any threshold
    heats, offsets = [], []
    for keypoints in (targets.tl, targets.br, targets.ct):
        heats.append(torch.where(keypoints.heat == 1, 6.0, -6.0))
        offsets.append(spread(keypoints, keypoints.offset))
    return TripletMaps(
        tl_heat=heats[0], br_heat=heats[1], ct_heat=heats[2],
        tl_tag=spread(targets.tl, tags), br_tag=spread(targets.br, tags),
        tl_offset=offsets[0], br_offset=offsets[1], ct_offset=offsets[2],
    )  # fmt: skip


def found_boxes(
    boxes: torch.Tensor, classes: torch.Tensor, height: int, width: int, num_classes: int,
    settings: InferenceSettings,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """What is found with certainty in an image of these boxes; sorted."""
    scales = iter(settings.scales)

    def network(pixels: torch.Tensor) -> TripletMaps:
        scale = next(scales)
        size = pixels.shape[-2], pixels.shape[-1]
        start = [
            full // 2 - int(length * scale) // 2
            for full, length in zip(reversed(size), (width, height))
        ]
        shown = boxes * scale + torch.tensor(start * 2, dtype=torch.float32)
        views = [shown]
        if len(pixels) == 2:
            mirrored = shown.clone()
            mirrored[:, 0], mirrored[:, 2] = size[1] - shown[:, 2], size[1] - shown[:, 0]
            views.append(mirrored)
        maps = [perfect_maps(v, classes, size, num_classes) for v in views]
        return TripletMaps(*map(torch.cat, zip(*maps)))

    found = detect(torch.zeros(3, height, width), network, MULTIPLE, settings)
    # The same box from other views loses its score to soft-NMS
    sure = found.scores > 0.9
    order = found.boxes[sure].sum(dim=1).argsort()
    return found.boxes[sure][order], found.classes[sure][order]


@pytest.mark.parametrize(
    "settings",
    [
        InferenceSettings(round_results=False),
        InferenceSettings(mirror=False),
        InferenceSettings(scales=(0.75, 1.0, 1.5), round_results=False),
    ],
    ids=["mirror", "rounded", "scales"],
)
@pytest.mark.parametrize("name", ["penn_fudan", "bccd"])
def test_real_boxes_come_back(shared_data: Path, name: str, settings: InferenceSettings) -> None:
    folder = shared_data / name
    records = load_coco_json(str(folder / "val.json"), str(folder / "images"))
    tested = 0
    for record in records[:6]:
        rows = torch.tensor([[*a["bbox"], a["category_id"]] for a in record["annotations"]])
        boxes = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4]], dim=1).float()
        classes = rows[:, 4].long()
        # Objects that overlap would suppress each other
        chosen = box_iou(boxes, boxes).fill_diagonal_(0).amax(dim=1) < 0.1
        order = boxes[chosen].sum(dim=1).argsort()
        boxes, classes = boxes[chosen][order], classes[chosen][order]
        height, width = record["height"], record["width"]
        found, labels = found_boxes(boxes, classes, height, width, int(classes.max()) + 1, settings)
        limit = torch.tensor([width, height, width, height])
        expected = boxes.clamp(min=0).minimum(limit)
        assert len(found) == len(expected)
        # Rounded sides are exact to 0.01; sides at other scales cannot be, as sizes are truncated
        torch.testing.assert_close(found, expected, rtol=0, atol=0.011)
        assert torch.equal(labels, classes)
        tested += len(boxes)
    assert tested >= 10
