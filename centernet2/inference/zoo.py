"""The models that have names."""

from __future__ import annotations

from pathlib import Path

from centernet2.errors import UserError
from centernet2.inference.fetching import FETCHED_MODELS, fetched_weights

__all__ = ["DEFAULT_MODEL", "shipped_config", "shipped_model", "shipped_models"]

DEFAULT_MODEL = "pedestrian"
_FOLDER = Path(__file__).resolve().parent.parent / "model_zoo"


def shipped_models() -> list[str]:
    """Names of the models that come with the package, sorted.

    The weights of some of them, :data:`.fetching.FETCHED_MODELS`, have to be fetched.
    """
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.yaml"))


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
