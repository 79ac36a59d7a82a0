"""The command line of the dataset doctor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPO / "tools" / "check_dataset.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=False)


@pytest.fixture
def broken(shared_data: Path, tmp_path: Path) -> Path:
    data = json.loads((shared_data / "bccd" / "val.json").read_text())
    data["annotations"][5]["bbox"] = [1, 2, -3, 4]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(data))
    return path


def test_errors_in_the_data_end_with_1_and_are_written_out(broken: Path, tmp_path: Path) -> None:
    done = run(broken, "--no-images", "--json", tmp_path / "out.json")
    assert done.returncode == 1, done.stderr
    assert "box-no-area" in done.stdout and "annotations[5] (id 3914)" in done.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["counts"] == {"box-no-area": 1}
    assert written["findings"][0]["index"] == 5


def test_a_missing_file_is_one_sentence_and_2() -> None:
    done = run("no/such.json", "--no-images")
    assert done.returncode == 2
    assert "no/such.json" in done.stderr and "Traceback" not in done.stderr


def test_no_folder_of_images_ends_with_2() -> None:
    assert run("a.json").returncode == 2


def test_page_and_cleaned_copy(broken: Path, shared_data: Path, tmp_path: Path) -> None:
    images = shared_data / "bccd" / "images"
    done = run(broken, images, "--html", tmp_path / "page.html", "--fix", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "data:image/jpeg" in (tmp_path / "page.html").read_text()
    again = run(tmp_path / "out" / "train.json", images)
    assert again.returncode == 0, again.stdout
    assert "977 annotations" in again.stdout


def test_a_folder_that_cannot_be_written_is_one_sentence(broken: Path) -> None:
    done = run(broken, "--no-images", "--json", broken / "out.json")
    assert done.returncode == 2
    assert "cannot write" in done.stderr and "Traceback" not in done.stderr
