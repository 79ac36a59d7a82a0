"""A model by name (shipped, a config, a run's folder): its configuration and weights."""

from __future__ import annotations

import os
from pathlib import Path

from centernet2.errors import UserError
from centernet2.inference.zoo import shipped_config, shipped_model, shipped_models

__all__ = ["find_model"]

_WEIGHTS_SUFFIXES = frozenset([".pkl", ".pth", ".safetensors"])
_OF_A_RUN = ("model_best.pth", "model_final.pth")  # in the order of preference


def find_model(
    model: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> tuple[Path, str | None]:
    """Find the configuration and the weights of a model.

    Args:
        model: name of a shipped model; a configuration (YAML); a training run's folder, of which
            ``config.yaml`` and ``model_best.pth``, else ``model_final.pth``, else the last
            checkpoint are taken; or a weights file in such a folder.
        weights: file (or address) to load instead.

    Returns:
        The configuration's path, and the weights; None: those that the configuration names.

    Raises:
        UserError: there is no such model; says what could have been given.
    """
    name = os.fspath(model)
    path = Path(name).expanduser()
    given = os.path.expanduser(os.fspath(weights)) if weights is not None else None
    if name in shipped_models():
        if given:
            return shipped_config(name), given
        config, shipped = shipped_model(name)
        return config, str(shipped)
    if path.is_dir():
        return _config_in(path), given or _weights_in(path)
    if path.suffix.lower() in _WEIGHTS_SUFFIXES:
        if not path.is_file():
            raise UserError(f"{name}: no such weights file")
        return _config_in(path.parent), given or str(path)
    if path.is_file() or path.suffix.lower() in (".yaml", ".yml"):
        return path, given
    known = ", ".join(shipped_models()) or "none in this installation"
    raise UserError(
        f"there is no model {name!r}: give a shipped one ({known}), a config.yaml, or the folder "
        "of a training run"
    )


def _config_in(folder: Path) -> Path:
    config = folder / "config.yaml"
    if not config.is_file():
        raise UserError(
            f"{folder} holds no config.yaml: name the configuration, and the weights beside it"
        )
    return config


def _weights_in(folder: Path) -> str:
    for name in _OF_A_RUN:
        if (folder / name).is_file():
            return str(folder / name)
    last = folder / "last_checkpoint"
    if last.is_file():
        return str(folder / last.read_text(encoding="utf-8").strip())
    if (folder / "model.safetensors").is_file():
        return str(folder / "model.safetensors")
    raise UserError(f"{folder} holds no weights ({', '.join(_OF_A_RUN)}): name them")
