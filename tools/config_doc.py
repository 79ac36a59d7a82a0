#!/usr/bin/env python3
"""Write docs/CONFIG.md from the key comments in centernet2/config.py and its companions.

python tools/config_doc.py            write the file
python tools/config_doc.py --check    exit with 1 if the file is not current
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parent.parent
SOURCES = [
    REPO / "centernet2" / name for name in ("config.py", "config_triplets.py", "config_points.py")
]
OUTPUT = REPO / "docs" / "CONFIG.md"

HEADER = """\
# Configuration keys

The keys that CenterNet2 adds to [Detectron2's own](https://detectron2.readthedocs.io/en/latest/modules/config.html#yaml-config-references).
Set them in a YAML file or as `KEY VALUE` at the end of a command line. This page is written by
`python tools/config_doc.py` from the comments in `centernet2/config.py`, `config_triplets.py` and
`config_points.py`.

The keys of Detectron2's project
[PointRend](https://github.com/facebookresearch/detectron2/blob/main/projects/PointRend/point_rend/config.py)
are there too, with its own defaults.
"""


class Key(NamedTuple):
    """A documented configuration key."""

    name: str
    default: str
    comment: str


def read_keys(source: str) -> list[Key]:
    """Find all assignments to config nodes and the comment above each.

    Args:
        source: Python code in the manner of ``centernet2/config.py``.

    Raises:
        ValueError: a key has no comment.
    """
    lines = source.splitlines()
    keys = []
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        # What local names such as `c` stand for; the argument `cfg` is the root
        prefixes = {"cfg": ""}
        for statement in function.body:
            if not isinstance(statement, ast.Assign):
                continue
            (target,) = statement.targets
            if isinstance(target, ast.Name):
                prefixes[target.id] = _dotted(statement.value, prefixes)
            elif isinstance(target, ast.Attribute) and not isinstance(statement.value, ast.Call):
                name = _dotted(target, prefixes)
                above = lines[statement.lineno - 2].strip()
                if not above.startswith("# ") or above.startswith("# ---"):
                    raise ValueError(f"the key {name} has no comment above it")
                keys.append(Key(name, repr(ast.literal_eval(statement.value)), above[2:]))
    return keys


def read_all_keys() -> list[Key]:
    """The keys of all ``SOURCES``."""
    return [key for path in SOURCES for key in read_keys(path.read_text(encoding="utf-8"))]


def _dotted(node: ast.expr, prefixes: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        parent = _dotted(node.value, prefixes)
        return f"{parent}.{node.attr}" if parent else node.attr
    return prefixes.get(node.id, "") if isinstance(node, ast.Name) else ""


def render(keys: list[Key]) -> str:
    """The page: one table a section."""
    sections: dict[str, list[Key]] = {}
    for key in keys:
        sections.setdefault(key.name.rpartition(".")[0], []).append(key)
    parts = [HEADER]
    for section, members in sections.items():
        rows = [f"| `{k.name.rpartition('.')[2]}` | `{k.default}` | {k.comment} |" for k in members]
        parts.append(
            "\n".join([f"## {section}", "", "| key | default | |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Write docs/CONFIG.md from the package's keys.")
    parser.add_argument("--check", action="store_true", help="only tell whether it is current")
    options = parser.parse_args(arguments)
    page = render(read_all_keys())
    if options.check:
        if OUTPUT.is_file() and OUTPUT.read_text(encoding="utf-8") == page:
            return 0
        print("docs/CONFIG.md is not current: run python tools/config_doc.py", file=sys.stderr)
        return 1
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
