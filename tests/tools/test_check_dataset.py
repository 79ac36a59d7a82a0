"""The command line of the dataset doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import check_dataset


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: object) -> int:
    return check_dataset.main([str(argument) for argument in arguments])


@pytest.fixture
def broken(shared_data: Path, tmp_path: Path) -> Path:
    data = json.loads((shared_data / "bccd" / "val.json").read_text())
    data["annotations"][5]["bbox"] = [1, 2, -3, 4]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(data))
    return path


def test_errors_in_the_data_end_with_1_and_are_written_out(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(broken, "--no-images", "--json", tmp_path / "out.json") == 1
    text = capsys.readouterr().out
    assert "box-no-area" in text and "annotations[5] (id 3914)" in text
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["counts"] == {"box-no-area": 1}
    assert written["findings"][0]["index"] == 5


def test_a_missing_file_is_one_sentence_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no/such.json", "--no-images") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no/such.json" in line


def test_a_file_that_is_cut_off_is_a_finding(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken.write_bytes(broken.read_bytes()[:-9])
    assert run(broken, "--no-images") == 1
    text = capsys.readouterr().out
    assert "json-unreadable" in text and "line 1 column" in text


@pytest.mark.parametrize(
    "line", [["a.json"], ["a.json", "b", "--val", "c"], ["a.json", "b", "--val", *"cde"]]
)
def test_a_wrong_command_ends_with_2(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(*line)
    assert stop.value.code == 2
    assert "folder of images" in capsys.readouterr().err


def test_page_and_cleaned_copy(
    broken: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = shared_data / "bccd" / "images"
    assert run(broken, images, "--html", tmp_path / "page.html", "--fix", tmp_path / "out") == 1
    assert "data:image/jpeg" in (tmp_path / "page.html").read_text()
    capsys.readouterr()
    assert run(tmp_path / "out" / "train.json", images) == 0
    assert "977 annotations" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_sentence(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(broken, "--no-images", "--json", broken / "out.json") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("cannot write")
