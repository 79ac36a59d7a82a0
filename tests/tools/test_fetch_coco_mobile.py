from __future__ import annotations

from pathlib import Path

import pytest

import fetch_coco_mobile
from centernet2.errors import UserError


def test_weights_and_published_files_go_where_configs_and_tests_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fetch_model(name: str, output: Path, keep: Path) -> Path:
        asked.append((name, output, keep))
        return output

    monkeypatch.setattr(fetch_coco_mobile, "fetch_model", fetch_model)
    assert fetch_coco_mobile.main([]) == 0
    repo = Path(fetch_coco_mobile.__file__).resolve().parents[1]
    weights = repo / "weights" / "coco_mobile.safetensors"
    assert asked == [("coco-mobile", weights, repo / ".cache" / "coco_mobile")]
    assert f"MODEL.WEIGHTS {weights}" in capsys.readouterr().out
    config = repo / "configs" / "small" / "CenterNet2_MobileNetV3_pennfudan.yaml"
    assert f'WEIGHTS: "{weights.relative_to(repo)}"' in config.read_text(encoding="utf-8")


def test_mistakes_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> Path:
        raise UserError("no registry")

    monkeypatch.setattr(fetch_coco_mobile, "fetch_model", refused)
    assert fetch_coco_mobile.main([]) == 2
    assert capsys.readouterr().err == "error: no registry\n"
