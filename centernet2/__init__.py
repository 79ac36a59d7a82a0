"""CenterNet2 for Detectron2. Importing the package registers its parts with Detectron2."""

from __future__ import annotations

import sys

from .version import __version__

__all__ = ["__version__"]

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
