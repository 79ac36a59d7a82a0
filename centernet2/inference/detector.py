"""The Python interface: a model by name, and what it finds on images of any kind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.config import CfgNode

from centernet2.config import resolve_renamed_keys
from centernet2.engine.config_files import merge_overrides
from centernet2.engine.defaults import build_cfg
from centernet2.errors import UserError
from centernet2.inference.batches import batched
from centernet2.inference.detections import Detections
from centernet2.inference.excerpt import WHOLE, Excerpt
from centernet2.inference.model_files import find_model
from centernet2.inference.pixels import CHANNEL_ORDERS
from centernet2.inference.predictor import Predictor
from centernet2.inference.sources import Images, Source, read_sources
from centernet2.inference.zoo import DEFAULT_MODEL

__all__ = ["Detector", "load_predictor"]

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB


def load_predictor(
    model: str | os.PathLike[str] | CfgNode = DEFAULT_MODEL,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    score_thresh: float | None = 0.5,
    opts: Sequence[str] = (),
) -> Predictor:
    """Load a model by name; see :class:`Detector` for the arguments and errors."""
    if isinstance(model, CfgNode):
        cfg, chosen = model.clone(), os.fspath(weights) if weights is not None else None
        cfg.defrost()
        if "CENTERNET" not in cfg.MODEL:
            raise UserError(
                "the configuration given lacks CenterNet2's keys: have "
                "centernet2.config.add_centernet_config(cfg) add them before a file is merged"
            )
        merge_overrides(cfg, opts)
        resolve_renamed_keys(cfg)
    else:
        config, chosen = find_model(model, weights)
        cfg = build_cfg(str(config), list(opts))
    if chosen is not None and "MODEL.WEIGHTS" not in [word.partition("=")[0] for word in opts]:
        cfg.MODEL.WEIGHTS = chosen
    if not cfg.MODEL.WEIGHTS:
        name = "given" if isinstance(model, CfgNode) else model
        raise UserError(f"the configuration {name} names no weights: say which to load")
    if device != "auto":
        try:
            kind = torch.device(device).type
        except RuntimeError:
            kind = ""
        if kind not in ("cpu", "cuda"):
            raise UserError(f"there is no device {device!r}: it is auto, cpu, cuda or cuda:1")
        if kind == "cuda" and not torch.cuda.is_available():
            raise UserError(f"device {device}: PyTorch finds no GPU; take auto or cpu")
        cfg.MODEL.DEVICE = device
    if score_thresh is not None and not 0 <= score_thresh <= 1:
        raise UserError(f"a score threshold of {score_thresh} is not between 0 and 1")
    return Predictor(cfg, score_thresh)


class Detector:
    """Finds objects on images.

    Args:
        model: name of a shipped model ("pedestrian"); path of a configuration, of a training run's
            folder, or of weights in it; or a configuration itself.
        weights: file (or address) of the weights; default: what belongs to ``model``.
        device: "cpu", "cuda", "cuda:1"; "auto": a GPU if there is one.
        score_thresh: least score of a detection, 0 to 1; None: as configured, which is what
            evaluation uses.
        batch_size: images given to the model at a time; default: 1 on the CPU, 8 on a GPU.
        opts: KEY, VALUE, KEY, VALUE, ... (or KEY=VALUE, ...): changes to the configuration.

    Raises:
        UserError: there is no such model, weights file, device or key.

    Example::

        detector = Detector("pedestrian")
        (found,) = detector("street.jpg")
        print(found.boxes, found.scores, found.names)
        found.save("drawn.jpg")
        for found in detector.stream("photos/"):
            print(found.path, len(found))
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | CfgNode = DEFAULT_MODEL,
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
        score_thresh: float | None = 0.5,
        batch_size: int | None = None,
        opts: Sequence[str] = (),
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise UserError(f"a batch size of {batch_size} is not 1 or more")
        self.predictor = load_predictor(model, weights, device, score_thresh, opts)
        self.batch_size = batch_size or self.predictor.usual_batch_size

    @property
    def class_names(self) -> list[str]:
        """Name of each class."""
        return self.predictor.class_names

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.predictor.device

    def __call__(
        self, images: Images, channel_order: str = "RGB", skip_broken: bool = False
    ) -> list[Detections]:
        """Find the objects on images of any sizes.

        Args:
            images: path of an image, folder or pattern (``photos/**/*.jpg``); a Pillow image; a
                NumPy array ``(H, W, 3)`` or ``(H, W)``; a tensor ``(3, H, W)``; a batch of these
                with one more dimension in front; or a list or other iterable of any of them.
                Numbers are uint8, uint16, or floating from 0 to 1.
            channel_order: of arrays and tensors: "RGB", or "BGR" as OpenCV reads images.
            skip_broken: log a warning for a file that cannot be read, and go on.

        Returns:
            The detections of each image, in order. A folder's images come sorted by name.

        Raises:
            UserError: an image cannot be read or has a form that is not understood.
        """
        read = self._read(images, channel_order, skip_broken=skip_broken, videos=False)
        return list(self._run(read))

    def stream(
        self,
        images: Images,
        channel_order: str = "RGB",
        skip_broken: bool = False,
        excerpt: Excerpt = WHOLE,
    ) -> Iterator[Detections]:
        """Find the objects on images one batch after another, in little memory.

        Args:
            images: as of :meth:`__call__`, and paths of videos, which give their frames. No more
                than a batch is taken ahead, so it may be endless (a camera).
            channel_order: see :meth:`__call__`.
            skip_broken: see :meth:`__call__`.
            excerpt: which frames of videos are looked at.

        Returns:
            An iterator over the detections of each image.

        Raises:
            UserError: see :meth:`__call__`; once the image is reached.
        """
        read = self._read(
            images, channel_order, skip_broken=skip_broken, videos=True, excerpt=excerpt
        )
        return self._run(read)

    def _read(
        self, images: Images, channel_order: str, **options: Any
    ) -> Iterator[tuple[Source, Picture]]:
        if channel_order not in CHANNEL_ORDERS:
            raise UserError(f"there is no channel order {channel_order!r}: it is RGB or BGR")
        return read_sources(images, channel_order, **options)

    def _run(self, read: Iterator[tuple[Source, Picture]]) -> Iterator[Detections]:
        names, categories = self.predictor.class_names, self.predictor.category_ids
        for batch in batched(read, self.batch_size):
            outputs = self.predictor([pixels[:, :, ::-1] for _, pixels in batch])
            for (source, _), found in zip(batch, outputs):
                yield Detections.from_instances(found, names, categories, source)
