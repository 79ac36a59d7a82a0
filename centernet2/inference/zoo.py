"""The models that come with the package."""

from __future__ import annotations

from pathlib import Path

from centernet2.errors import UserError

__all__ = ["DEFAULT_MODEL", "shipped_model", "shipped_models"]

DEFAULT_MODEL = "pedestrian"
_FOLDER = Path(__file__).resolve().parent.parent / "model_zoo"


def shipped_models() -> list[str]:
    """Names of the models that come with the package, sorted."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.yaml"))


def shipped_model(name: str) -> tuple[Path, Path]:
    """Find a model that comes with the package.

    Args:
        name: of the model, such as "pedestrian".

    Returns:
        Path of its configuration and path of its weights.

    Raises:
        UserError: there is no such model; names those there are.
        UserError: its weights are missing from this installation.
    """
    if name not in shipped_models():
        known = ", ".join(shipped_models()) or "none in this installation"
        raise UserError(f"there is no shipped model {name!r}; available: {known}")
    config, weights = _FOLDER / name / "config.yaml", _FOLDER / name / "model.safetensors"
    if not weights.is_file():
        raise UserError(
            f"the weights of the shipped model {name!r} are missing ({weights}); install again"
        )
    return config, weights
