from __future__ import annotations

from pathlib import Path

import pytest

from centernet2.errors import UserError
from centernet2.inference.model_files import find_model
from centernet2.inference.zoo import shipped_model


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("MODEL: {}\n")
    return tmp_path


def test_shipped_models_go_by_name() -> None:
    config, weights = shipped_model("pedestrian")
    assert find_model("pedestrian") == (config, str(weights))
    assert find_model("pedestrian", "mine.pth") == (config, "mine.pth")


def test_best_weights_of_a_run_are_preferred(run_folder: Path) -> None:
    config = run_folder / "config.yaml"
    for name in ("model_0000999.pth", "model_final.pth", "model_best.pth"):
        (run_folder / name).touch()
        (run_folder / "last_checkpoint").write_text("model_0000999.pth")
        expected = run_folder / name
        assert find_model(run_folder) == (config, str(expected))
        assert find_model(expected) == (config, str(expected))
    assert find_model(run_folder, "mine.pth") == (config, "mine.pth")


def test_configuration_keeps_the_weights_it_names(run_folder: Path) -> None:
    config = run_folder / "config.yaml"
    assert find_model(config) == (config, None)
    assert find_model(str(config), "mine.pth") == (config, "mine.pth")


def test_mistakes_name_what_could_be_given(tmp_path: Path, run_folder: Path) -> None:
    shipped = r"shipped one \(coco-mobile, pedestrian\)"
    with pytest.raises(UserError, match=f"no model 'cats': give a {shipped}"):
        find_model("cats")
    with pytest.raises(UserError, match="holds no weights"):
        find_model(run_folder)
    with pytest.raises(UserError, match=r"absent\.pth: no such weights file"):
        find_model(tmp_path / "absent.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no config\.yaml"):
        find_model(tmp_path / "empty")
