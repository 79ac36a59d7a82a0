"""What docs/PYTHON_API.md, docs/COMMAND_LINE.md and docs/WEB.md say can be run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from centernet2 import Detections
from centernet2.cli.main import COMMANDS, full_parser

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_python_examples_run(
    shared_data: Path,
    street_video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo = shared_data / "penn_fudan" / "images" / "FudanPed00001.jpg"
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "street.jpg")
    shutil.copy(street_video, tmp_path / "street.mp4")
    shutil.copy(photo, tmp_path / "photos" / "1.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("PYTHON_API.md", "python"):
        exec(block, names)
        for line in block.splitlines():
            if match := re.match(r"\s*print\(.*\)  # (.+)", line):
                assert match[1] in capsys.readouterr().out
    assert (tmp_path / "drawn.jpg").is_file()
    assert json.loads((tmp_path / "results.json").read_text())[0]["image_id"] == 1


def test_table_names_what_detections_have() -> None:
    text = (DOCS / "PYTHON_API.md").read_text(encoding="utf-8")
    table = text.partition("## Detections")[2].partition("```")[0]
    fields = {*Detections.__dataclass_fields__, *vars(Detections)}
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = [name for cell in first for name in re.findall(r"`(\w+)[`(]", cell)]
    assert len(named) >= 12
    assert set(named) <= fields


def test_command_line_examples_can_be_parsed() -> None:
    parser = full_parser()
    lines = "".join(blocks("COMMAND_LINE.md", "bash") + blocks("WEB.md", "bash")).splitlines()
    examples = [line for line in lines if "centernet2 " in line]
    assert len(examples) >= 6
    for line in examples:
        words = shlex.split(line.split(">")[0], comments=True)
        parser.parse_args(words[words.index("centernet2") + 1 :])


def test_every_command_is_in_the_table() -> None:
    text = (DOCS / "COMMAND_LINE.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `centernet2 (\w+)", text, re.MULTILINE) == list(COMMANDS)
