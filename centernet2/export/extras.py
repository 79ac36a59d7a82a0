"""The packages that only exporting needs."""

from __future__ import annotations

import importlib
from typing import Any

from centernet2.errors import UserError

__all__ = ["extra"]


def extra(module: str) -> Any:
    """Import a package of the extra "export".

    Args:
        module: "onnx", "onnxruntime", "openvino", or a module in one of them.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise UserError(
            f"this needs the package {error.name or package}: pip install 'centernet2[export]', "
            f"or pip install {package}"
        ) from error
