"""Reading config files and overrides: nothing is executed, mistakes get one sentence."""

from __future__ import annotations

import ast
import difflib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import yaml
from detectron2.config import CfgNode

from centernet2.errors import UserError

__all__ = ["merge_file", "merge_overrides"]


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a YAML file, with the files that it names under ``_BASE_``, into a config.

    Raises:
        UserError: if a file is absent or not plain YAML, a key is unknown or stands twice, or a
            value has the wrong type.
    """
    if not os.path.isfile(path):
        raise UserError(f"There is no config file {path}{_similar_file(path)}.")
    try:
        loaded = _StrictReader.load_yaml_with_base(path, allow_unsafe=False)
    except yaml.constructor.ConstructorError as error:
        raise UserError(
            f"{path}: refused, because it (or its _BASE_) asks to build Python objects "
            f"({error.problem}); config files may hold plain values only."
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: its _BASE_ {error.filename} does not exist.") from error
    except RecursionError as error:
        raise UserError(f"{path}: the files named under _BASE_ form a circle.") from error
    except (TypeError, AssertionError) as error:
        raise UserError(f"{path} does not hold a mapping of keys to values.") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} does not hold a mapping of keys to values.")
    for key, value in _leaves(loaded, cfg):
        _set(cfg, key, value, where=path)


class _StrictReader(CfgNode):
    """Reads config files, each base included, as CfgNode does, but refuses duplicate keys."""

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[str]:
        with super()._open_cfg(filename) as file:
            text = file.read()
        _refuse_duplicates(yaml.compose(text, Loader=yaml.SafeLoader), filename)
        return io.StringIO(text)


def _refuse_duplicates(root: yaml.Node | None, filename: str) -> None:
    # YAML silently keeps the last of two keys: a repeated INPUT would lose all that the first set.
    waiting: list[tuple[str, yaml.Node | None]] = [("", root)]
    seen = set()  # an alias shows a node again, perhaps inside itself
    while waiting:
        prefix, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend((prefix, item) for item in node.value)
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                raise UserError(
                    f"{filename}: {prefix}{name} stands twice in the same group (lines "
                    f"{lines[name]} and {line}), where only the last counts; merge the two."
                )
            lines[name] = line
            waiting.append((f"{prefix}{name}.", value))


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
            + f", not {value!r}."
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
    except (ValueError, SyntaxError):
        return value


def _unquoted(value: str) -> str:
    decoded = _literal(value)
    return decoded if isinstance(decoded, str) else value


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
