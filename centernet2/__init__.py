"""CenterNet2 for Detectron2. Importing the package registers its parts with Detectron2."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .inference.detections import Detections
    from .inference.detector import Detector

__all__ = ["Detections", "Detector", "__version__"]

_INTERFACE = {"Detections": "detections", "Detector": "detector"}  # imported when first used

# The command `centernet2` answers --help at once, and explains a broken installation: each of its
# parts imports what it needs
if Path(sys.argv[0] if sys.argv else "").stem != "centernet2":
    try:
        from . import data, modeling  # noqa: F401
    except Exception as error:
        # While Python locates the module of `python -m centernet2.env`, which explains a broken
        # installation, argv[0] is "-m"
        if sys.argv[:1] != ["-m"]:
            if isinstance(error, ModuleNotFoundError):
                raise ImportError(
                    f"CenterNet2 needs the package {error.name!r}, which is not installed; "
                    "`python -m centernet2.env` lists what is missing and how to get it"
                ) from error
            raise


def __getattr__(name: str) -> object:
    if name not in _INTERFACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".inference.{_INTERFACE[name]}", __name__), name)
