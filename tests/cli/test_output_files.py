from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from centernet2.cli.output_files import check_place, write_json
from centernet2.errors import UserError

Run = Callable[..., tuple[int, str, str]]


def test_folders_are_made_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    check_place(path)
    assert list(tmp_path.rglob("*")) == [path.parent]
    write_json({"a": [1.5]}, path)
    check_place(path)  # a file is replaced
    assert json.loads(path.read_text()) == {"a": [1.5]}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("write", [check_place, lambda path: write_json({}, path)])
def test_places_that_cannot_be_written_are_named(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.json", tmp_path, tmp_path / ("x" * 300) / "a.json"):
        with pytest.raises(UserError, match="cannot be written") as raised:
            write(path)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "command",
    [
        ["benchmark", "targets", "--json", "FILE/a.json"],
        ["benchmark", "growth", "a.yaml", "--plot", "FILE/a.png"],
        ["chart", "--published", "--output", "FILE/a.png"],
        ["chart", "--published", "--output", "a.png", "--json", "FILE/a.json"],
        ["export", "pedestrian", "--output", "FILE/a.onnx"],
        ["export", "pedestrian", "--output", "a.onnx", "--json", "FILE/a.json"],
    ],
)
def test_commands_say_so_before_they_work(
    run: Run, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").touch()
    status, printed, said = run(*command)
    assert status == 2
    assert not printed
    assert said.startswith("error: FILE/a.") and "cannot be written" in said
    assert said.count("\n") == 1
