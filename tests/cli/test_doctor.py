from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


def test_findings_are_those_of_the_doctor(run: Run, photos: Path, tmp_path: Path) -> None:
    data = {
        "images": [{"id": 1, "file_name": "0.png", "width": 60, "height": 40}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 7,
                "bbox": [1, 1, 9, 9],
                "area": 81,
                "iscrowd": 0,
            }
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    path = tmp_path / "train.json"
    path.write_text(json.dumps(data))
    status, printed, _ = run("doctor", path, photos)
    assert status == 1
    assert "1 annotation" in printed
    data["annotations"][0]["category_id"] = 1
    path.write_text(json.dumps(data))
    status, printed, _ = run("doctor", path, photos)
    assert status == 0
    assert "0 errors" in printed


def test_wrong_commands_are_told(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run("doctor", "train.json")
    assert ended.value.code == 2
    status, _, said = run("doctor", tmp_path / "absent.json", tmp_path)
    assert status == 2
    assert "absent.json" in said
