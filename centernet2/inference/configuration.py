"""Configurations for using a model."""

from __future__ import annotations

import os
from collections.abc import Sequence

from detectron2.config import CfgNode, get_cfg

from centernet2.config import add_centernet_config, resolve_renamed_keys
from centernet2.engine.config_files import merge_file, merge_overrides

__all__ = ["load_config"]


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> CfgNode:
    """Read a YAML configuration of Detectron2 or CenterNet2; nothing in it is executed.

    Args:
        path: of the file.
        overrides: KEY VALUE pairs that take precedence.

    Returns:
        The configuration.

    Raises:
        UserError: the file, a key or a value is wrong; says which.
    """
    cfg = get_cfg()
    add_centernet_config(cfg)
    merge_file(cfg, os.fspath(path))
    merge_overrides(cfg, overrides)
    return resolve_renamed_keys(cfg)
