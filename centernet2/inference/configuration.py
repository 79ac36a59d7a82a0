"""Configurations for using a model."""

from __future__ import annotations

import os
from collections.abc import Sequence

import yaml
from detectron2.config import CfgNode, get_cfg

from centernet2.config import add_centernet_config, resolve_renamed_keys
from centernet2.errors import UserError

__all__ = ["load_config"]


def load_config(path: str | os.PathLike[str], changes: Sequence[str] = ()) -> CfgNode:
    """Read a YAML configuration of Detectron2 or CenterNet2; nothing in it is executed.

    Args:
        path: of the file.
        changes: KEY VALUE pairs that take precedence.

    Returns:
        The configuration.

    Raises:
        UserError: the file or a key or value is wrong; says which.
    """
    cfg = get_cfg()
    add_centernet_config(cfg)
    if len(changes) % 2:
        raise UserError(f"--opts takes KEY VALUE pairs; {changes[-1]!r} has no value")
    try:
        cfg.merge_from_file(os.fspath(path), allow_unsafe=False)
        cfg.merge_from_list(list(changes))
    except (OSError, yaml.YAMLError, KeyError, ValueError, AssertionError) as error:
        reason = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
        raise UserError(f"configuration {path}: {reason}") from error
    return resolve_renamed_keys(cfg)
