"""The models that have names."""

from __future__ import annotations

import os
from pathlib import Path

from centernet2.errors import UserError

__all__ = [
    "DEFAULT_MODEL",
    "FETCHED_MODELS",
    "everyday_models",
    "fetched_weights",
    "shipped_config",
    "shipped_model",
    "shipped_models",
]

DEFAULT_MODEL = "pedestrian"
# Their weights are not part of this package: `centernet2 fetch` gets them, once, when asked to
FETCHED_MODELS = ("coco-mobile",)
_FOLDER = Path(__file__).resolve().parent.parent / "model_zoo"


def shipped_models() -> list[str]:
    """Names of the models that come with the package, sorted.

    The weights of some of them, :data:`FETCHED_MODELS`, have to be fetched.
    """
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.yaml"))


def fetched_weights(name: str) -> Path:
    """Where the weights of a fetched model are kept, whether they are there or not.

    It is the folder ``centernet2`` of the user's cache: ``XDG_CACHE_HOME``, else ``~/.cache``.

    Args:
        name: of :data:`FETCHED_MODELS`.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return Path(cache).expanduser() / "centernet2" / name / "model.safetensors"


def everyday_models() -> list[str]:
    """Names of the models that can be used at once; the first is the one for everyday pictures.

    That is "coco-mobile", which knows 80 kinds of objects, once its weights have been fetched.
    """
    fetched = [name for name in FETCHED_MODELS if fetched_weights(name).is_file()]
    return [*fetched, *(name for name in shipped_models() if name not in FETCHED_MODELS)]


def shipped_config(name: str) -> Path:
    """The configuration of a model that comes with the package.

    Args:
        name: of the model, such as "pedestrian".

    Raises:
        UserError: there is no such model; names those there are.
    """
    if name not in shipped_models():
        known = ", ".join(shipped_models()) or "none in this installation"
        raise UserError(f"there is no shipped model {name!r}; available: {known}")
    return _FOLDER / name / "config.yaml"


def shipped_model(name: str) -> tuple[Path, Path]:
    """Find a model that comes with the package.

    Args:
        name: of the model, such as "pedestrian".

    Returns:
        Path of its configuration and path of its weights.

    Raises:
        UserError: there is no such model; names those there are.
        UserError: its weights have not been fetched, or are missing from this installation.
    """
    config = shipped_config(name)
    if name in FETCHED_MODELS:
        fetched = fetched_weights(name)
        if not fetched.is_file():
            raise UserError(
                f"the weights of the model {name!r} are not part of this package: fetch them once "
                f"with `centernet2 fetch {name}`"
            )
        return config, fetched
    weights = _FOLDER / name / "model.safetensors"
    if not weights.is_file():
        raise UserError(
            f"the weights of the shipped model {name!r} are missing ({weights}); install again"
        )
    return config, weights
