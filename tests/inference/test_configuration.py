from __future__ import annotations

from pathlib import Path

import pytest

from centernet2.errors import UserError
from centernet2.inference.configuration import load_config


def test_file_and_overrides_are_merged(model_file: Path) -> None:
    cfg = load_config(model_file, ["MODEL.CENTERNET.NMS_TH_TEST", "0.3"])
    assert cfg.MODEL.CENTERNET.NMS_TH_TEST == 0.3
    assert cfg.MODEL.FPN.OUT_CHANNELS == 64


def test_published_spellings_are_taken_over(model_file: Path) -> None:
    cfg = load_config(model_file, ["MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CAT", "7"])
    assert cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES == 7


def test_configuration_runs_no_code(tmp_path: Path) -> None:
    trap = tmp_path / "trap.yaml"
    trap.write_text(f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{tmp_path}/ran']\n")
    with pytest.raises(UserError, match=r"trap\.yaml"):
        load_config(trap)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("overrides", [["MODEL.NO_SUCH_KEY", "1"], ["MODEL.DEVICE"]])
def test_mistakes_are_named(model_file: Path, overrides: list[str]) -> None:
    with pytest.raises(UserError, match=overrides[0]):
        load_config(model_file, overrides)
