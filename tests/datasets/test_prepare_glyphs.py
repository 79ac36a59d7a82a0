from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "datasets" / "prepare_glyphs.py"
TINY = (
    *("--categories", "4", "--train", "3", "--val", "2", "--size", "64", "80"),
    *("--objects", "1", "2", "--object-size", "12", "40"),
)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("prepare_glyphs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_data_set_of_any_size_is_written(script, tmp_path, capsys):
    arguments = ["--name", "mine", *TINY, "--style", "lvis", "--frequencies", "long_tailed"]
    arguments += ["--seed", "7", "--out", str(tmp_path), "--workers", "0"]
    assert script.main(arguments) == 0
    assert f"mine: 3 + 2 images in {tmp_path / 'mine'}" in capsys.readouterr().out
    settings = json.loads((tmp_path / "mine" / "glyphs.json").read_text())
    assert settings["num_categories"] == 4
    assert settings["image_size"] == [64, 80]
    assert settings["objects_per_image"] == [1, 2]
    assert settings["object_size"] == [12, 40]
    assert settings["frequencies"] == "long_tailed"
    assert settings["seed"] == 7
    content = json.loads((tmp_path / "mine/annotations/val.json").read_text())
    assert len(content["images"]) == 2
    assert "neg_category_ids" in content["images"][0]


def test_by_default_it_goes_where_the_environment_says(script, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert script.main(["--name", "mine", *TINY, "--workers", "0"]) == 0
    assert (tmp_path / "mine" / "train" / "000003.jpg").is_file()


def test_samples_are_drawn_and_nothing_else(script, tmp_path):
    picture = tmp_path / "sheet.png"
    assert (
        script.main([*TINY, "--draw", "2", "--out", str(tmp_path), "--output", str(picture)]) == 0
    )
    with Image.open(picture) as image:
        assert image.width >= 2 * 64
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--categories", "3"], "glyphs_80 has fixed settings: give yours a name"),
        (["--name", "a", "--categories", "3000"], "num_categories must be an integer, 1 to 1,203"),
        (["--name", "a", "--size", "300", "200"], "image_size must have its least value first"),
        (["--name", "a", "--style", "voc"], "style must be one of coco, lvis, but is 'voc'"),
        (["--name", "a/b"], "name must be made of letters"),
        (["--draw", "0"], "can draw 1 to 300 samples, not 0"),
    ],
)
def test_mistakes_give_one_sentence(script, tmp_path, capsys, arguments, message):
    assert script.main([*arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("prepare_glyphs.py: ")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
