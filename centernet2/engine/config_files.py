"""Reading config files and overrides: nothing is executed, mistakes get one sentence."""

from __future__ import annotations

import ast
import difflib
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from fvcore.common.config import BASE_KEY

from centernet2.errors import UserError
from centernet2.yaml_file import parse_yaml

__all__ = ["merge_file", "merge_overrides"]

_MOST_FILES = 100  # of a config; a base that is named by several counts each time
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 200


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a YAML file, with the files that it names under ``_BASE_``, into a config.

    Raises:
        UserError: if a file is absent or not plain YAML, a key is unknown or stands twice, or a
            value has the wrong type.
    """
    if not os.path.isfile(path):
        raise UserError(f"There is no config file {path}{_similar_file(path)}.")
    for key, value in _leaves(_Reader().read(path), cfg):
        _set(cfg, key, value, where=path)


class _Reader:
    """Reads config files and their bases by the rules of Detectron2, which would run code."""

    def __init__(self) -> None:
        self._open: list[str] = []  # the file and those that led to it
        self._files = 0

    def read(self, path: str) -> dict[str, Any]:
        """A file's values over those of its bases, of which the last counts most."""
        self._files += 1
        if path in self._open:
            raise UserError(f"{path}: the files named under _BASE_ form a circle.")
        if self._files > _MOST_FILES:
            raise UserError(f"{self._open[0]}: its _BASE_ leads to more than {_MOST_FILES} files.")
        self._open.append(path)
        values = parse_yaml(self._text(path), path)
        if not isinstance(values, dict):
            raise UserError(f"{path} does not hold a mapping of keys to values.")
        named = values.pop(BASE_KEY, [])
        bases = named if isinstance(named, list) else [named]
        merged: dict[str, Any] = {}
        for base in bases:
            if not isinstance(base, str):
                raise UserError(f"{path}: _BASE_ must name a file, not {_shown(base)}.")
            _merge(self.read(_place(base, path)), merged, path)
        _merge(values, merged, path)
        self._open.pop()
        return merged

    def _text(self, path: str) -> str:
        name = path if len(self._open) == 1 else f"{self._open[-2]}: its _BASE_ {path}"
        try:
            local = PathManager.get_local_path(path)
            # Reading a device or a pipe might never end
            if os.path.exists(local) and not os.path.isfile(local):
                raise UserError(f"{name} is no regular file; a config is a YAML file.")
            return Path(local).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise UserError(f"{name} does not exist.") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{name} cannot be read: {error}.") from error


def _place(base: str, path: str) -> str:
    base = os.path.expanduser(base) if base.startswith("~") else base
    if base.startswith(("/", "http://", "https://")):
        return base
    return os.path.join(os.path.dirname(path), base)


def _merge(values: dict[str, Any], into: dict[str, Any], path: str) -> None:
    waiting = [(values, into)]
    while waiting:
        part, target = waiting.pop()
        for key, value in part.items():
            former = target.get(key)
            if isinstance(value, dict) and key in target:
                if not isinstance(former, dict):
                    raise UserError(
                        f"{path}: {key} is a group of keys, but {_shown(former)} in its _BASE_."
                    )
                target[key] = dict(former)
                waiting.append((value, target[key]))
            else:
                target[key] = value


def merge_overrides(cfg: CfgNode, overrides: Sequence[str]) -> None:
    """Merge ``KEY VALUE`` pairs of a command line (``KEY=VALUE`` works too) into a config.

    Raises:
        UserError: if a value is missing, a key is unknown, or a value has the wrong type.
    """
    rest = list(overrides)
    while rest:
        key = rest.pop(0)
        if key.startswith("-"):
            raise UserError(f"Put the option {key} before the KEY VALUE overrides.")
        if "=" in key:
            key, _, value = key.partition("=")
        elif rest:
            value = rest.pop(0)
        else:
            raise UserError(f"The override {key} has no value: write {key} VALUE.")
        _set(cfg, key, value, where="command line")


def _leaves(loaded: Mapping[str, Any], cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in loaded.items():
        known = cfg.get(name)
        if isinstance(value, dict) and isinstance(known, CfgNode):
            yield from _leaves(value, known, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _set(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    # yacs refuses an integer for a number and text that looks like one; here both are taken.
    if cfg.key_is_deprecated(key):
        return
    parent: Any = None
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            raise UserError(f"{where}: there is no key {key}{_similar_key(cfg, key)}.")
        parent, node = node, node[part]
    accepted, new = _coerce(value, node)
    if not accepted:
        raise UserError(
            f"{where}: {key} must be {_kind(node)}"
            + ("" if isinstance(node, CfgNode) else f" (it is {node!r} by default)")
            + f", not {_shown(value)}."
        )
    parent[part] = new


def _coerce(value: Any, default: Any) -> tuple[bool, Any]:
    """Whether a value fits in place of a default, and the value in the default's type."""
    if isinstance(default, CfgNode) or isinstance(value, dict):
        return False, None
    if isinstance(default, str) and isinstance(value, str):
        return True, _unquoted(value)
    decoded = _literal(value)
    if default is None or decoded is None or type(decoded) is type(default):
        return True, decoded
    if isinstance(default, float) and type(decoded) is int:
        return True, float(decoded)
    if isinstance(default, (list, tuple)) and isinstance(decoded, (list, tuple)):
        return True, type(default)(decoded)
    return False, None


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return value


def _unquoted(value: str) -> str:
    decoded = _literal(value)
    return decoded if isinstance(decoded, str) else value


def _shown(value: Any) -> str:
    return _brief.repr(value)


def _kind(value: Any) -> str:
    if isinstance(value, CfgNode):
        return f"a group of keys ({', '.join(list(value)[:4])}, ...)"
    names = {bool: "True or False", int: "an integer", float: "a number", str: "text"}
    return names.get(type(value), "a list such as (1, 2)")


def _all_keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in cfg.items():
        yield f"{prefix}{name}"
        if isinstance(value, CfgNode):
            yield from _all_keys(value, f"{prefix}{name}.")


def _similar_key(cfg: CfgNode, key: str) -> str:
    keys = list(_all_keys(cfg))
    upper = {k.upper(): k for k in keys}
    if key.upper() in upper:
        return f"; write {upper[key.upper()]}"
    last = key.rpartition(".")[2]
    same_name = [k for k in keys if k.rpartition(".")[2] == last]
    near = difflib.get_close_matches(key, same_name, n=1, cutoff=0.0)
    near = near or difflib.get_close_matches(key, keys, n=1)
    return f"; the nearest is {near[0]}" if near else ""


def _similar_file(path: str) -> str:
    folder = Path(path).parent
    names = [p.name for p in folder.glob("*.yaml")] if folder.is_dir() else []
    near = difflib.get_close_matches(Path(path).name, names, n=1)
    return f"; did you mean {folder / near[0]}" if near else ""
