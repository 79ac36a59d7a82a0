"""Makes ``lvis`` 0.5.3, the last release of LVIS's own evaluation, run on NumPy 1.24 and later."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

__all__ = ["repair_lvis"]


class _NumpyWithFloat(types.ModuleType):
    """NumPy with the alias ``np.float``, which NumPy 1.24 removed."""

    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def repair_lvis() -> None:
    """Give ``lvis.eval`` the ``np.float`` it asks for; NumPy itself stays as it is.

    Call it before an evaluation with ``LVISEval``; calling it again does nothing.
    """
    import lvis.eval

    if not hasattr(lvis.eval.np, "float"):
        lvis.eval.np = _NumpyWithFloat("numpy")
