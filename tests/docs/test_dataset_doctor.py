"""The table of the dataset doctor's findings is that of the code."""

from __future__ import annotations

from pathlib import Path

from centernet2.data.doctor import KINDS

REPO = Path(__file__).resolve().parents[2]


def test_table_lists_every_kind_as_it_is() -> None:
    text = (REPO / "docs" / "DATASET_DOCTOR.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    expected = [
        f"| `{kind.name}` | {kind.severity} | {kind.text} | {kind.cure} | {kind.fix or '-'} |"
        for kind in KINDS.values()
    ]
    assert rows == expected
