"""What was found on an image: numbers, a drawing, and the forms that other tools take."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.drawing import draw_predictions
from centernet2.inference.images import enlarged, save_picture
from centernet2.inference.inputs import output_paths
from centernet2.inference.results import coco_results, image_ids
from centernet2.inference.sources import Source

if TYPE_CHECKING:
    import supervision

__all__ = ["Detections"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The objects found on one image, best score first.

    ``found[i]``, ``found[2:5]`` and ``found[found.scores > 0.8]`` select some of them.

    Attributes:
        boxes: ``(N, 4)`` float32: x0, y0, x1, y1 in pixels of the upright image.
        scores: ``(N,)`` float32, 0 to 1.
        labels: ``(N,)`` int64: class of each, from 0.
        masks: ``(N, H, W)`` bool; None: the model has no masks.
        keypoints: ``(N, J, 3)`` float32: x, y in pixels and score of each joint; None: the model
            has no pose.
        image_size: height and width in pixels.
        class_names: name of each class of the model.
        category_ids: id of each class of the model in COCO results.
        source: where the image came from.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_] | None
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    source: Source
    keypoints: npt.NDArray[np.float32] | None = None

    @classmethod
    def from_instances(
        cls,
        found: Instances,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        source: Source,
    ) -> Detections:
        """From what a Detectron2 model returns, on the CPU.

        Args:
            found: with ``pred_boxes``, ``scores``, ``pred_classes`` and optionally ``pred_masks``
                and ``pred_keypoints``.
            class_names: name of each class.
            category_ids: id of each class in COCO results.
            source: of the image.
        """
        masks = found.pred_masks.numpy() if found.has("pred_masks") else None
        keypoints = found.pred_keypoints.numpy() if found.has("pred_keypoints") else None
        return cls(
            found.pred_boxes.tensor.numpy(),
            found.scores.numpy(),
            found.pred_classes.numpy(),
            masks,
            found.image_size,
            tuple(class_names),
            tuple(category_ids),
            source,
            keypoints,
        )

    @property
    def names(self) -> list[str]:
        """Class of each detection by name, N of them."""
        return [self.class_names[label] for label in self.labels]

    @property
    def path(self) -> Path | None:
        """File of the image, or the video it is a frame of; None: it was in memory."""
        return self.source.path

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The image, ``(H, W, 3)`` uint8, RGB; one that came from a file is read again.

        Raises:
            UserError: the file cannot be read any more.
        """
        return self.source.image()

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Detections:
        rows = np.atleast_1d(np.arange(len(self))[index])
        masks = self.masks[rows] if self.masks is not None else None
        keypoints = self.keypoints[rows] if self.keypoints is not None else None
        return dataclasses.replace(
            self,
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            labels=self.labels[rows],
            masks=masks,
            keypoints=keypoints,
        )

    def __repr__(self) -> str:
        counts = Counter(self.names).most_common()
        found = ", ".join(f"{number} {name}" for name, number in counts) or "nothing"
        height, width = self.image_size
        where = f" of {self.path.name}" if self.path is not None else ""
        if self.source.frame is not None:
            where = f" of frame {self.source.frame}{where}"
        return f"<Detections{where} ({width}x{height}): {found}>"

    def plot(self, masks: bool = True) -> Image.Image:
        """Draw boxes, masks, joints, names and scores on the image.

        Args:
            masks: whether to draw them, if there are any.

        Returns:
            An RGB picture of the image's size; one below 320 pixels is enlarged. ``.show()`` opens
            it, ``numpy.asarray`` gives its pixels.
        """
        shown = self if masks else dataclasses.replace(self, masks=None)
        picture, found = enlarged(self.image, shown.to_instances())
        return Image.fromarray(draw_predictions(picture, found, self.class_names))

    def save(self, path: str | os.PathLike[str], masks: bool = True) -> Path:
        """Write the drawing of :meth:`plot` to a file.

        Args:
            path: an image file, or a folder, in which the drawing has its image's name. Folders
                are made.
            masks: see :meth:`plot`.

        Returns:
            The file.

        Raises:
            UserError: it cannot be written, or is the image itself.
        """
        target = Path(path).expanduser()
        named = self.path if self.source.frame is None else None
        if named is not None:
            (target,) = output_paths([named], target)
        elif target.is_dir() or not target.suffix:
            raise UserError(f"{target}: name a file, as this image has no file name of its own")
        save_picture(np.asarray(self.plot(masks)), target)
        return target

    def to_coco(self, image_id: int | None = None) -> list[dict[str, Any]]:
        """The detections as entries of COCO results, for ``pycocotools.coco.COCO.loadRes``.

        Args:
            image_id: default: the number that is the file's name, or the frame's, else 1.

        Returns:
            For each ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels),
            ``score`` and, with masks, ``segmentation`` (RLE), with joints ``keypoints`` (x, y,
            score, x, ...); all as JSON takes them.
        """
        if image_id is None:
            image_id = self.source.frame
        if image_id is None:
            (image_id,) = image_ids([self.path]) if self.path is not None else [1]
        return coco_results(self.to_instances(), image_id, self.category_ids)

    def to_instances(self) -> Instances:
        """The detections as Detectron2's type, on the CPU.

        Returns:
            With ``pred_boxes``, ``scores``, ``pred_classes`` and, where there are any,
            ``pred_masks`` and ``pred_keypoints``; they share memory with this object.
        """
        found = Instances(self.image_size)
        found.pred_boxes = Boxes(torch.from_numpy(self.boxes))
        found.scores = torch.from_numpy(self.scores)
        found.pred_classes = torch.from_numpy(self.labels)
        if self.masks is not None:
            found.pred_masks = torch.from_numpy(self.masks)
        if self.keypoints is not None:
            found.pred_keypoints = torch.from_numpy(self.keypoints)
        return found

    def to_supervision(self) -> supervision.Detections:
        """The detections as the package supervision's type, for its trackers and annotators.

        Returns:
            With ``class_name`` among its data.

        Raises:
            UserError: the package is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise UserError(
                "to_supervision() needs the package supervision: pip install supervision"
            ) from error
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.labels,
            data={"class_name": np.array(self.names, dtype=str)},
        )
