"""What an exported file says of itself, so that it can be used without anything beside it."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from detectron2.config import CfgNode

from centernet2.errors import UserError
from centernet2.inference.predictor import Predictor

__all__ = ["KEY", "FileInfo", "describe_export"]

KEY = "centernet2"  # under which the description lies in files of every format
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class FileInfo:
    """Description of an exported model; JSON in the file.

    Attributes:
        class_names: name of each class.
        category_ids: id of each class in COCO results.
        size: height and width of its images; None: any.
        sides: images are resized so that the shorter side is the first and the longer one at most
            the second, where ``size`` is None; (0, 0): left as they are.
        padding: colour (RGB) of what is added to an image below and to the right to reach ``size``.
        masks: "none"; "boxes": probabilities within each box; "image": pasted.
        config: YAML of the model's configuration, without the place of its weights.
    """

    class_names: list[str]
    category_ids: list[int]
    size: tuple[int, int] | None
    sides: tuple[int, int]
    padding: tuple[int, int, int]
    masks: str
    config: str

    def to_json(self) -> str:
        """The description as a text."""
        return json.dumps({"version": _VERSION, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes | None, path: str | os.PathLike[str]) -> FileInfo:
        """Read what :meth:`to_json` wrote.

        Args:
            text: None or empty where the file has none.
            path: of the file, for messages.

        Raises:
            UserError: the file was not written by this package, or by a newer one.
        """
        try:
            values: dict[str, Any] = json.loads(text or "")
            version = values.pop("version")
        except (ValueError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} says nothing of classes and sizes: it was not written by "
                "`centernet2 export`"
            ) from error
        if version != _VERSION:
            raise UserError(
                f"{path} was written by another version of CenterNet2: export the model again"
            )
        for name in ("size", "sides", "padding"):
            values[name] = tuple(values[name]) if values[name] is not None else None
        return cls(**values)


def describe_export(
    predictor: Predictor, size: tuple[int, int] | None, paste_masks: bool
) -> FileInfo:
    """Describe a model that is being exported.

    Args:
        predictor: the model.
        size: see :class:`FileInfo`.
        paste_masks: whether masks have the image's size.
    """
    cfg = predictor.cfg.clone()
    cfg.MODEL.WEIGHTS = ""  # a path of the machine that exports
    # What the model itself fills up with
    black = cfg.MODEL.META_ARCHITECTURE == "ObjectsAsPoints"
    mean = [0, 0, 0] if black else [round(value) for value in cfg.MODEL.PIXEL_MEAN]
    red, green, blue = mean if cfg.INPUT.FORMAT == "RGB" else mean[::-1]
    return FileInfo(
        class_names=predictor.class_names,
        category_ids=predictor.category_ids,
        size=size,
        sides=_sides(cfg),
        padding=(red, green, blue),
        masks=("image" if paste_masks else "boxes") if predictor.finds_masks else "none",
        config=cfg.dump(),
    )


def _sides(cfg: CfgNode) -> tuple[int, int]:
    if cfg.INPUT.TEST_INPUT_TYPE == "square":
        return cfg.INPUT.TEST_SIZE, cfg.INPUT.TEST_SIZE
    return cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
