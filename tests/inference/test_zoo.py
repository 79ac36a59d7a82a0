from __future__ import annotations

from pathlib import Path

import pytest

from centernet2.errors import UserError
from centernet2.inference import zoo


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("cells", "pedestrian"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("")
    (tmp_path / "cells" / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    return tmp_path


def test_model_is_found(folder: Path) -> None:
    files = folder / "cells" / "config.yaml", folder / "cells" / "model.safetensors"
    assert zoo.shipped_model("cells") == files


def test_unknown_model_lists_the_known(folder: Path) -> None:
    with pytest.raises(UserError, match="'dogs'; available: cells, pedestrian"):
        zoo.shipped_model("dogs")


def test_missing_weights_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'pedestrian' are missing .*model\.safetensors"):
        zoo.shipped_model("pedestrian")


def test_fetched_model_comes_first_for_everyday_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert zoo.everyday_models() == ["pedestrian"]
    target = zoo.fetched_weights("coco-mobile")
    target.parent.mkdir(parents=True)
    target.write_bytes(b"")
    assert zoo.everyday_models() == ["coco-mobile", "pedestrian"]
