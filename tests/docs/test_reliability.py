"""Each promise of docs/RELIABILITY.md names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test_that_exists() -> None:
    rows = [
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and not line.endswith("| Test |")
    ]
    assert len(rows) > 15
    for row in rows:
        found = NAMED.search(row)
        assert found is not None, row
        assert found[2].startswith("test_"), row
        assert found[2] in functions_of(REPO / found[1]), row
