"""YAML files of any origin: plain values come out of them, or one sentence."""

from __future__ import annotations

from typing import Any

import yaml

from centernet2.errors import UserError

__all__ = ["parse_yaml"]

# Far beyond any description (the longest config here has some 400 values), and read in seconds
_MOST_CHARACTERS = 1 << 20
# Aliases let a short text stand for a huge value
_MOST_VALUES = 100_000
_MOST_DIGITS = 400
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_UNKNOWN = -1


def parse_yaml(text: str, name: str) -> Any:
    """Parse YAML; nothing in it is executed.

    Args:
        text: of the file.
        name: of the file, for messages.

    Raises:
        UserError: if it is not YAML, asks to build Python objects, has a key twice in one group,
            or stands for more values than a description can have.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UserError(f"{name} is too large: {len(text):,} characters are no description.")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _refuse_duplicates(root, name)
        _refuse_growth(root, name)
        return loader.construct_document(root)
    except yaml.constructor.ConstructorError as error:
        if "constructor for the tag" in str(error.problem):
            raise UserError(
                f"{name}: refused, because it asks to build Python objects ({error.problem}); "
                "such files may hold plain values only."
            ) from error
        raise UserError(f"{name} is not valid YAML: {' '.join(str(error).split())}.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{name} is not valid YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise UserError(f"{name} cannot be read: its values are nested too deeply.") from error
    except ValueError as error:  # of a date or a number that cannot be
        raise UserError(f"{name} has a value that cannot be read: {error}.") from error
    finally:
        if loader is not None:
            loader.dispose()


def _refuse_duplicates(root: yaml.Node, name: str) -> None:
    # YAML silently keeps the last of two keys: a repeated INPUT would lose all that the first set.
    waiting: list[tuple[str, yaml.Node]] = [("", root)]
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
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise UserError(
                    f"{name}: {prefix}{key.value} stands twice in the same group (lines "
                    f"{lines[key.value]} and {line}), where only the last counts; merge the two."
                )
            lines[key.value] = line
            waiting.append((f"{prefix}{key.value}.", value))


def _refuse_growth(root: yaml.Node, name: str) -> None:
    # Before anything is built: merged groups ("<<") are copied for each of their names.
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known == _UNKNOWN:
            line = node.start_mark.line + 1
            raise UserError(f"{name}: refused, because the group of line {line} is inside itself.")
        if known is not None:
            return known
        sizes[id(node)] = _UNKNOWN
        total = 1
        if isinstance(node, yaml.SequenceNode):
            total += sum(map(size, node.value))
        elif isinstance(node, yaml.MappingNode):
            total += sum(size(key) + size(value) for key, value in node.value)
        elif node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
            line = node.start_mark.line + 1
            raise UserError(f"{name}: the number in line {line} has {len(node.value)} digits.")
        sizes[id(node)] = total
        return total

    if size(root) > _MOST_VALUES:
        raise UserError(
            f"{name}: refused, because its aliases stand for more than {_MOST_VALUES:,} values; "
            "write out what it means."
        )
