"""From images to their objects: views, maps, decoding, merging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from centernet2.errors import UserError

from ..soft_nms import SoftNMSSettings
from .decode import Found, decode
from .joints import JointSettings
from .maps import PointMaps
from .merging import join, keep_best, suppress
from .mirror import average_with_mirrored
from .views import View, make_view, to_image

__all__ = ["InferenceSettings", "detect"]


@dataclass(frozen=True)
class InferenceSettings:
    """How images are looked at; the fields are the keys of ``MODEL.POINTS`` that say the same.

    Attributes:
        scales: factors of the images' size; what is found in several is merged.
        mirror: average the maps with those of the mirrored image.
        fixed_size: see :func:`.views.make_view`.
        top_k: see :func:`.decode.decode`.
        joints: see :class:`.joints.JointSettings`.
        partners: see :func:`.mirror.average_with_mirrored`.
        always_nms: soft-NMS with one scale too.
        nms: see :func:`.merging.suppress`.
        max_detections: of an image; people with joints are not limited, as published.

    Raises:
        UserError: if there is no scale.
    """

    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    fixed_size: int = 0
    top_k: int = 100
    joints: JointSettings = field(default_factory=JointSettings)
    partners: tuple[int, ...] = ()
    always_nms: bool = False
    nms: SoftNMSSettings = field(default_factory=lambda: SoftNMSSettings(carry_scores=True))
    max_detections: int = 100

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise UserError(
                f"MODEL.POINTS.TEST_SCALES is {list(self.scales)}; it must be a list of factors "
                "above 0, such as [1.0]."
            )


def detect(
    images: Sequence[torch.Tensor],
    network: Callable[[torch.Tensor], PointMaps],
    multiple: int,
    settings: InferenceSettings,
) -> list[Found]:
    """Find the objects of images.

    Args:
        images: ``(3, H, W)`` floats from 0 to 255, of any sizes. What is found in one does not
            depend on the others; those of equal sizes are shown to the network together.
        network: maps of images ``(N, 3, IH, IW)`` of such pixels.
        multiple: sizes that the network takes are multiples of this.
        settings: see :class:`InferenceSettings`.

    Returns:
        For each image what was found, best first, in its pixels.
    """
    found: list[list[Found]] = [[] for _ in images]
    for scale in settings.scales:
        views = [make_view(image, scale, multiple, settings.fixed_size) for image in images]
        for place, objects in _look(views, network, settings):
            found[place].append(objects)
    merge = len(settings.scales) > 1 or settings.always_nms
    results = []
    for parts in found:
        objects = join(parts)
        if merge:
            objects = suppress(objects, settings.nms)
        limit = settings.max_detections if objects.joints is None else None
        results.append(keep_best(objects, limit))
    return results


def _look(
    views: Sequence[View], network: Callable[[torch.Tensor], PointMaps], settings: InferenceSettings
) -> list[tuple[int, Found]]:
    """The objects in each view, with the view's place among them."""
    by_size: dict[torch.Size, list[int]] = {}
    for place, view in enumerate(views):
        by_size.setdefault(view.pixels.shape, []).append(place)
    results = []
    for places in by_size.values():
        pixels = torch.stack([views[place].pixels for place in places])
        maps = _averaged_maps(pixels, network, settings)
        size = (maps.hm.shape[2], maps.hm.shape[3])
        objects = decode(maps, settings.top_k, settings.joints)
        results += [
            (place, _in_image(objects.take(i), views[place], size))
            for i, place in enumerate(places)
        ]
    return results


def _averaged_maps(
    pixels: torch.Tensor, network: Callable[[torch.Tensor], PointMaps], settings: InferenceSettings
) -> PointMaps:
    """Maps of images, heatmaps as probabilities."""
    number = len(pixels)
    maps = network(torch.cat([pixels, pixels.flip(-1)]) if settings.mirror else pixels)
    maps = maps._replace(
        hm=maps.hm.float().sigmoid(),
        hm_hp=None if maps.hm_hp is None else maps.hm_hp.float().sigmoid(),
    )
    if not settings.mirror:
        return maps
    own, mirrored = (maps.rows(rows) for rows in (slice(0, number), slice(number, None)))
    return average_with_mirrored(own, mirrored, settings.partners)


def _in_image(found: Found, view: View, size: tuple[int, int]) -> Found:
    boxes = to_image(found.boxes.view(-1, 2, 2), view, size).flatten(1)
    joints = found.joints
    if joints is not None:
        joints = torch.cat([to_image(joints[..., :2], view, size), joints[..., 2:]], dim=2)
    return found._replace(boxes=boxes, joints=joints)
