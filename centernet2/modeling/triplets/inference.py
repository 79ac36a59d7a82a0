"""From an image to its detections: views, pairs of corners, centres, suppression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from centernet2.errors import UserError

from ..soft_nms import SoftNMSSettings
from .central_region import confirm_by_centers
from .decode import Candidates, Points, decode
from .detections import Detections, round_detections, suppress
from .image_space import to_image
from .maps import TripletMaps
from .views import resized_view

__all__ = ["InferenceSettings", "detect"]


@dataclass(frozen=True)
class InferenceSettings:
    """How an image is looked at; the fields are the keys of ``MODEL.TRIPLETS`` that say the same.

    Attributes:
        scales: factors of the image's size.
        mirror: show each size mirrored too.
        pad_loses_last_row: see :func:`.views.resized_view`.
        top_k, tag_threshold, num_pairs: see :func:`.decode.decode`.
        border_margin: see :func:`.image_space.to_image`.
        best_center: see :func:`.central_region.confirm_by_centers`.
        centers_of_scale_one: centres of the other scales confirm nothing.
        nms: see :class:`..soft_nms.SoftNMSSettings`.
        max_detections, keep_ties: see :func:`.detections.suppress`.
        score_threshold: least score of a detection.
        round_results: round boxes and scores to two decimals.

    Raises:
        UserError: if there is no scale, or none that gives the centres.
    """

    scales: tuple[float, ...] = (1.0,)
    mirror: bool = True
    pad_loses_last_row: bool = True
    top_k: int = 70
    tag_threshold: float = 0.5
    num_pairs: int = 1000
    border_margin: float | None = 5.0
    best_center: bool = False
    centers_of_scale_one: bool = True
    nms: SoftNMSSettings = field(default_factory=SoftNMSSettings)
    max_detections: int = 100
    keep_ties: bool = True
    score_threshold: float = 0.0
    round_results: bool = True

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise UserError(
                f"MODEL.TRIPLETS.TEST_SCALES is {list(self.scales)}; it must be a list of factors "
                "above 0, such as [1.0]."
            )


def detect(
    image: torch.Tensor,
    network: Callable[[torch.Tensor], TripletMaps],
    multiple: int,
    settings: InferenceSettings,
) -> Detections:
    """Find the objects of one image.

    Args:
        image: ``(3, H, W)`` floats from 0 to 255.
        network: maps of one or two images ``(N, 3, IH, IW)`` of such pixels.
        multiple: sizes that the network takes are multiples of this, or one less.
        settings: see :class:`InferenceSettings`.

    Returns:
        Boxes in pixels of the image.

    Raises:
        UserError: if the network finds centres, but not in a scale that they are taken from.
    """
    found: list[Candidates] = []
    centers: list[Points] = []
    has_centers = False
    for scale in settings.scales:
        view = resized_view(image, scale, multiple, lose_last_row=settings.pad_loses_last_row)
        shown = [view.pixels, view.pixels.flip(-1)] if settings.mirror else [view.pixels]
        maps = network(torch.stack(shown))
        pairs, points = to_image(
            *decode(maps, settings.top_k, settings.tag_threshold, settings.num_pairs),
            view,
            (maps.tl_heat.shape[-2], maps.tl_heat.shape[-1]),
            settings.border_margin,
        )
        found.append(pairs)
        has_centers = points is not None
        if points is not None and (scale == 1 or not settings.centers_of_scale_one):
            centers.append(points)
    candidates = Candidates(*map(torch.cat, zip(*found)))
    if has_centers:
        if not centers:
            raise UserError(
                f"MODEL.TRIPLETS.TEST_SCALES {list(settings.scales)} lacks 1.0, which the centres "
                "are taken from: add it, or set MODEL.TRIPLETS.CENTERS_OF_SCALE_ONE False."
            )
        every = Points(*map(torch.cat, zip(*centers)))
        candidates = confirm_by_centers(candidates, every, settings.best_center)
    detections = suppress(candidates, settings.nms, settings.max_detections, settings.keep_ties)
    if settings.round_results:
        detections = round_detections(detections)
    good = detections.scores >= settings.score_threshold
    return Detections(*(part[good] for part in detections))
