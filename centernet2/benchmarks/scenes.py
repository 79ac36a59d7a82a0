"""Random images with random boxes: input of a chosen size, without a data set."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.structures import Boxes, Instances, PolygonMasks

__all__ = ["random_batch", "random_boxes"]


def random_boxes(
    count: int, size: tuple[int, int], generator: torch.Generator | None = None
) -> torch.Tensor:
    """Boxes anywhere in an image, most of them small: sides of ``5 + 500 u^3`` pixels, u uniform.

    Args:
        count: ``N``.
        size: height and width of the image in pixels; no side is longer.
        generator: for the same boxes every time.

    Returns:
        ``(N, 4)`` float32 XYXY in pixels.
    """
    extent = torch.tensor([size[1], size[0]], dtype=torch.float32)
    sides = (5 + 500 * torch.rand(count, 2, generator=generator).pow(3)).minimum(extent)
    corner = torch.rand(count, 2, generator=generator) * (extent - sides)
    return torch.cat([corner, corner + sides], dim=1)


def random_batch(
    images: int, size: tuple[int, int], boxes: int, num_classes: int, seed: int
) -> list[dict[str, Any]]:
    """A batch as a data loader gives it, with boxes, classes and masks (octagons in the boxes).

    Args:
        images: how many.
        size: their height and width in pixels.
        boxes: objects of each image.
        num_classes: their classes are below.
        seed: same seed, same batch.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = []
    for i in range(images):
        xyxy = random_boxes(boxes, size, generator)
        instances = Instances(size)
        instances.gt_boxes = Boxes(xyxy)
        instances.gt_classes = torch.randint(num_classes, (boxes,), generator=generator)
        instances.gt_masks = PolygonMasks([[_octagon(box)] for box in xyxy])
        image = torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)
        batch.append(
            {
                "image": image,
                "height": size[0],
                "width": size[1],
                "image_id": i,
                "instances": instances,
            }
        )
    return batch


def _octagon(box: torch.Tensor) -> Any:
    angle = torch.arange(8) * (torch.pi / 4)
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    points = (box[:2] + box[2:]) / 2 + circle * (box[2:] - box[:2]) / 2
    return points.double().flatten().numpy()
