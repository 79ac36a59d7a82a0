from __future__ import annotations

from pathlib import Path

import pytest

from centernet2.engine.defaults import build_cfg
from centernet2.inference.predictor import Predictor
from centernet2.inference.run_description import describe_run


@pytest.fixture
def predictor(model_file: Path) -> Predictor:
    return Predictor(build_cfg(str(model_file)), threshold=0.5)


def test_what_changes_no_result_changes_no_description(
    predictor: Predictor, tmp_path: Path
) -> None:
    before = describe_run(predictor, tmp_path, True)
    predictor.cfg.MODEL.DEVICE = "cuda"
    predictor.cfg.OUTPUT_DIR = "elsewhere"
    predictor.cfg.SOLVER.BASE_LR = 7.0
    copy = tmp_path / "model.pth"
    copy.write_bytes(Path(predictor.cfg.MODEL.WEIGHTS).read_bytes())
    predictor.cfg.MODEL.WEIGHTS = str(copy)
    assert describe_run(predictor, tmp_path, True) == before


def test_what_changes_results_is_in_the_description(predictor: Predictor, tmp_path: Path) -> None:
    before = describe_run(predictor, tmp_path, True)
    assert before["score threshold"] == 0.5
    other = describe_run(predictor, tmp_path / "other", False)
    assert {key for key in before if before[key] != other[key]} == {"images", "drawings"}
    predictor.cfg.INPUT.MIN_SIZE_TEST += 32
    weights = tmp_path / "model.pth"
    weights.write_bytes(b"others")
    predictor.cfg.MODEL.WEIGHTS = str(weights)
    other = describe_run(predictor, tmp_path, True)
    assert {key for key in before if before[key] != other[key]} == {"configuration", "weights"}
