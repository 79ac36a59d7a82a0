"""Checkpoints: written whole or not at all, read without running code.

What a checkpoint holds: ``model`` is what evaluation measured and what should be deployed. With
SOLVER.EMA.ENABLED that is the moving average, and ``train_model`` beside it holds the weights in
training, which only a resumed run reads. ``trainer`` holds everything else that a run needs to go
on, ``iteration`` the iteration that had just finished.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs, urlparse

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from centernet2.engine.atomic import atomic_write
from centernet2.engine.ema import ModelEma
from centernet2.errors import UserError

__all__ = ["Checkpointer", "load_weights_file"]

logger = logging.getLogger(__name__)

# What NumPy arrays are made of in a pickle, under the names of NumPy 1 and 2.
_ARRAY_PARTS = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module, name)


def load_weights_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values; nothing in the file is executed.

    Args:
        path: ``.safetensors``, Detectron2 model-zoo ``.pkl``, or anything of ``torch.save``.

    Returns:
        A dict with the weights under ``model``. Tensors are on the CPU.

    Raises:
        UserError: if the file is damaged, or holds objects other than arrays and plain values.
    """
    name = os.fspath(path)
    try:
        if name.endswith(".safetensors"):
            return _read_safetensors(name)
        if name.endswith(".pkl"):
            return _read_model_zoo_pickle(name)
        loaded = torch.load(name, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"Unsupported global: GLOBAL ([\w.]+)", str(error))
        reason = f"it refers to {named[1]}" if named else str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{name}: refused, because it holds Python objects other than weights, which could "
            f"run code ({reason}). Save its state_dict() alone, or as .safetensors."
        ) from error
    except UserError:
        raise
    except Exception as error:  # zip, EOF, struct, safetensors errors: all mean a bad file
        raise UserError(
            f"{name} cannot be read as a checkpoint; it may be cut short ({error})."
        ) from error
    if name.endswith(".pyth"):
        return _from_pycls(name, loaded)
    if not isinstance(loaded, dict):
        raise UserError(f"{name} holds a {type(loaded).__name__} instead of named weights.")
    return loaded if "model" in loaded else {"model": loaded}


def _read_safetensors(name: str) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"{name}: install the package safetensors to read it.") from error
    return {"model": load_file(name)}


def _read_model_zoo_pickle(name: str) -> dict[str, Any]:
    data = _ArrayUnpickler(io.BytesIO(Path(name).read_bytes()), encoding="latin1").load()
    if not isinstance(data, dict):
        raise UserError(f"{name} holds a {type(data).__name__} instead of named weights.")
    if "model" in data and "__author__" in data:
        return data
    # Caffe2 / Detectron1: detectors keep their arrays under "blobs", ImageNet models do not.
    blobs = data.get("blobs", data)
    weights = {k: v for k, v in blobs.items() if not k.endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def _from_pycls(name: str, loaded: Any) -> dict[str, Any]:
    if not isinstance(loaded, dict) or "model_state" not in loaded:
        raise UserError(f"{name}: a .pyth file must hold 'model_state', as pycls writes it.")
    weights = {
        k: v for k, v in loaded["model_state"].items() if not k.endswith("num_batches_tracked")
    }
    return {"model": weights, "__author__": "pycls", "matching_heuristics": True}


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes, safe reads and an optional moving average.

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
        self._ema = ema
        self._resuming = False

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
            UserError: if the file is absent, cannot be fetched, is damaged or is unsafe.
        """
        wanted = args[0] if args else kwargs.get("checkpointables")
        self._resuming = wanted is None and "trainer" in self.checkpointables
        if not path:
            logger.info("Starting from random weights.")
            return {}
        self._check_present(path)
        return super().load(path, *args, **kwargs)

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
            raise UserError(
                f"{tag} names {os.path.basename(path)}, which is absent; write the name of a "
                "checkpoint of that folder into it."
            )
        raise UserError(
            f'There is no weights file {path}; check MODEL.WEIGHTS ("" starts from random weights).'
        )

    def _load_file(self, filename: str) -> dict[str, Any]:
        loaded = load_weights_file(filename)
        parsed = getattr(self, "_parsed_url_during_load", None)
        if parsed is not None and parse_qs(parsed.query).get("matching_heuristics") == ["True"]:
            loaded["matching_heuristics"] = True
        return loaded

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        trained = checkpoint.pop("train_model", None)
        if self._resuming and trained is not None:
            if self._ema is not None:
                self._ema.load_state_dict(checkpoint["model"], updates=0)
            checkpoint["model"] = trained
        return super()._load_model(checkpoint)
