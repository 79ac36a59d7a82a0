"""Checkpoints: written whole or not at all, read without running code, told where they differ.

What a checkpoint holds: ``model`` is what evaluation measured and what should be deployed. With
SOLVER.EMA.ENABLED that is the moving average, and ``train_model`` beside it holds the weights in
training, which only a resumed run reads. ``trainer`` holds everything else that a run needs to go
on, ``iteration`` the iteration that had just finished.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs, urlparse

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from torch import nn

from centernet2.engine.atomic import atomic_write
from centernet2.engine.ema import ModelEma
from centernet2.engine.published_names import adopt_names
from centernet2.engine.weights_file import check_sums, load_weights_file
from centernet2.engine.weights_match import WeightsMatch, pixel_differences, set_aside
from centernet2.errors import UserError

__all__ = ["CannotResumeError", "Checkpointer", "load_weights_file"]

logger = logging.getLogger(__name__)


# What garbage in place of a state raises when it is taken over
_UNFIT = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class CannotResumeError(UserError):
    """A checkpoint is absent, damaged, or holds no state of a training to go on from."""


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes, safe reads and an optional moving average.

    Weights of another number of classes load without their class layers, with one warning; a file
    of which nothing fits is refused. After :meth:`load`, ``match`` tells what became of each name.

    Args:
        model: the model, wrapped in DistributedDataParallel or not.
        save_dir: folder of the checkpoints.
        ema: the moving average whose weights are saved as ``model``.
        save_to_disk: default: only the main process saves.
        checkpointables: objects with ``state_dict`` and ``load_state_dict``.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        ema: ModelEma | None = None,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.match: WeightsMatch | None = None
        self._ema = ema
        self._resuming = False
        self._file = ""

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``name.pth`` with the whole state, then make ``last_checkpoint`` point to it."""
        if not self.save_dir or not self.save_to_disk:
            return
        data: dict[str, Any] = {"model": self._deployed_weights()}
        if self._ema is not None:
            data["train_model"] = self.model.state_dict()
        for key, part in self.checkpointables.items():
            data[key] = part.state_dict()
        data.update(kwargs)
        self._write(name, data)
        self.tag_last_checkpoint(f"{name}.pth")

    def save_weights(self, name: str, **extra: Any) -> None:
        """Write ``name.pth`` with the weights alone; ``last_checkpoint`` stays as it is."""
        if self.save_dir and self.save_to_disk:
            self._write(name, {"model": self._deployed_weights(), **extra})

    def _deployed_weights(self) -> Mapping[str, torch.Tensor]:
        return self.model.state_dict() if self._ema is None else self._ema.state_dict()

    def _write(self, name: str, data: dict[str, Any]) -> None:
        path = os.path.join(self.save_dir, f"{name}.pth")
        with atomic_write(path) as file:
            torch.save(data, file)
        logger.info("Saved %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make ``last_checkpoint`` name the file that a resumed run starts from."""
        with atomic_write(os.path.join(self.save_dir, "last_checkpoint"), "w") as file:
            file.write(last_filename_basename)

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load weights and, unless ``checkpointables=[]``, everything else that was saved.

        Raises:
            CannotResumeError: if it is to be resumed and cannot.
            UserError: if the file is absent, cannot be fetched, is damaged, is unsafe or fits
                the model in no name.
        """
        wanted = args[0] if args else kwargs.get("checkpointables")
        self._resuming = wanted is None and "trainer" in self.checkpointables
        if not path:
            logger.info("Starting from random weights.")
            return {}
        self._file = path
        self._check_present(path)
        try:
            return super().load(path, *args, **kwargs)
        except _UNFIT as error:
            if not self._resuming:
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            raise CannotResumeError(
                f"{path} cannot be resumed: its state of the training is damaged or of another "
                f"config ({type(error).__name__}: {reason}). Take the config.yaml of its folder, "
                "or name the file in MODEL.WEIGHTS and leave --resume out."
            ) from error
        finally:
            self._parsed_url_during_load = None  # Detectron2's refuses to load after a failure

    def _check_present(self, path: str) -> None:
        try:
            local = self.path_manager.get_local_path(urlparse(path)._replace(query="").geturl())
        except (URLError, OSError, ValueError) as error:
            raise UserError(
                f"The weights {path} cannot be fetched ({error}); download them elsewhere and set "
                'MODEL.WEIGHTS to the local file, or to "" to start from random weights.'
            ) from error
        if os.path.isfile(local):
            return
        tag = os.path.join(self.save_dir, "last_checkpoint")
        if self._resuming and os.path.dirname(path) == self.save_dir.rstrip("/"):
            raise CannotResumeError(
                f"{tag} names {os.path.basename(path)}, which is absent; write the name of a "
                "checkpoint of that folder into it."
            )
        raise UserError(
            f'There is no weights file {path}; check MODEL.WEIGHTS ("" starts from random weights).'
        )

    def _load_file(self, filename: str) -> dict[str, Any]:
        loaded = self._load_state(filename) if self._resuming else load_weights_file(filename)
        parsed = getattr(self, "_parsed_url_during_load", None)
        if parsed is not None and parse_qs(parsed.query).get("matching_heuristics") == ["True"]:
            loaded["matching_heuristics"] = True
        return loaded

    @staticmethod
    def _load_state(filename: str) -> dict[str, Any]:
        try:
            check_sums(filename)
            loaded = load_weights_file(filename)
        except UserError as error:
            raise CannotResumeError(str(error)) from error
        if not isinstance(loaded.get("trainer"), dict):
            raise CannotResumeError(
                f"{filename} cannot be resumed: it holds weights, but no state of a training. Name "
                "it in MODEL.WEIGHTS and leave --resume out to start from it anew."
            )
        return loaded

    def get_checkpoint_file(self) -> str:
        """Path of the file that ``last_checkpoint`` names; "" where it names none."""
        try:
            with open(os.path.join(self.save_dir, "last_checkpoint"), "rb") as file:
                name = file.read(300).decode("utf-8", "replace").strip("\0\n\r\t ")
        except OSError:
            return ""
        return os.path.join(self.save_dir, os.path.basename(name)) if name else ""

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        trained = checkpoint.pop("train_model", None)
        average = None
        if self._resuming and trained is not None:
            average, checkpoint["model"] = checkpoint["model"], trained
        state = self.model.state_dict()
        first = next(iter(checkpoint["model"]))
        if checkpoint.pop("matching_heuristics", False):
            # Done here rather than in Detectron2's method, so that the names found are known
            self._convert_ndarray_to_tensor(checkpoint["model"])
            checkpoint["model"] = align_and_update_state_dicts(
                state, checkpoint["model"], checkpoint.get("__author__") == "Caffe2"
            )
        weights = checkpoint["model"]
        adopt_names(weights, state)
        names = list(weights)
        pixels = pixel_differences(weights, self.model)
        for sentence in pixels:
            logger.warning("%s: %s", self._file, sentence)
        aside = set_aside(weights, state)
        if aside.classes and self._resuming:
            raise UserError(
                f"{self._file} cannot be resumed: {aside.classes}. To start from it anew, name it "
                "in MODEL.WEIGHTS and leave --resume out."
            )
        if average is not None and self._ema is not None:
            self._ema.load_state_dict(average, updates=0)
        incompatible = super()._load_model(checkpoint)
        match = WeightsMatch.of(incompatible, state, names, aside, pixels)
        self.match = match
        if not match.matched:
            raise UserError(
                f"{self._file} is of another architecture: none of its weights (such as "
                f"{first}) fits this model (which has {next(iter(state))}). Take the config "
                "that it was trained with; if it holds a backbone alone, write "
                "?matching_heuristics=True behind its name."
            )
        if match.foreign:
            logger.warning("%s: %s", self._file, match.foreign)
        if aside.classes:
            logger.warning(
                "%s: %s. RE-INITIALISED, to be trained before use: %s.",
                self._file,
                aside.classes,
                ", ".join(aside.layers),
            )
        logger.info("%d of the model's %d weights are loaded.", len(match.matched), len(state))
        return incompatible._replace(missing_keys=match.missing)
