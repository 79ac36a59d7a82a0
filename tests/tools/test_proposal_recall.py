from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from centernet2.engine import build_cfg
from proposal_recall import main

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ONE = ["--config-file", str(CONFIGS / "small" / "CenterNet2_MobileNetV2_bccd.yaml")]
SMALL = ["--opts", "DATASETS.TEST", "('two_images',)", "INPUT.MIN_SIZE_TEST", "64"]


def test_first_stages_are_compared(small_detectors, tmp_path, capsys):
    files = ["--json", str(tmp_path / "x.json"), "--plot", str(tmp_path / "x.png")]
    assert (
        main(
            [
                *small_detectors["CenterNet2"],
                *small_detectors["CascadeRCNN"],
                "--counts",
                "200",
                "5",
                *files,
                *SMALL,
            ]
        )
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "two_images:"
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert cells[0] == ["first stage", "size", "objects", "AR@5", "AR@200"]
    assert [row[0] for row in cells[2:] if row[0]] == [
        "CenterNet2_MobileNetV2_bccd",
        "CascadeRCNN_MobileNetV2_bccd",
    ]
    assert [row[1:4] for row in cells[2:4]][1] == ["small", "0", "–"]
    figures = json.loads((tmp_path / "x.json").read_text())["two_images"]
    for row, recall in zip(cells[2::4], figures.values()):
        averages = recall["average_recall"]["all"]
        assert row[2:] == ["2", *(f"{average:.1f}" for average in averages)]
        np.testing.assert_allclose(averages, 100 * np.mean(recall["recall"]["all"], axis=1))
        assert recall["average_recall"]["small"] is None
        assert 5 < recall["proposals_per_image"] <= 200
    assert Image.open(tmp_path / "x.png").width > 1500


def test_as_many_proposals_are_measured_as_are_asked_for(small_detectors, tmp_path, capsys):
    """The configs hand on fewer: 128 and 1000."""
    arguments = small_detectors["CenterNet2"]
    counts = ["--counts", "2000", "--json", str(tmp_path / "x.json")]
    large = [*SMALL[:-1], "128"]
    assert main([*arguments, *counts, *large, "MODEL.CENTERNET.NMS_TH_TEST", "1.0"]) == 0
    (recall,) = json.loads((tmp_path / "x.json").read_text())["two_images"].values()
    assert recall["proposals_per_image"] > 200
    assert "  –" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config-file", "absent.yaml"], "absent.yaml"),
        ([*ONE, "--weights", "absent.pth", *SMALL], "absent.pth"),
        ([*ONE, "--weights", "a", "--weights", "b"], "--weights is given 2"),
        ([*ONE, "--name", "a", "--name", "b"], "--name is given 2"),
        (ONE * 2, "tell them apart with --name"),
        ([*ONE, "--counts", "0"], "--counts has 0"),
        ([*ONE, "--opts", "DATASETS.TEST", "()"], "DATASETS.TEST of"),
        ([*ONE, "--opts", "MODEL.WEIGHTS", ""], "names no weights"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, two_images, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_a_detector_of_one_stage_is_refused(two_images, tmp_path, capsys):
    config = str(CONFIGS / "CenterNet-S4_DLA_8x.yaml")
    classes = ["MODEL.CENTERNET.NUM_CLASSES", "3"]
    cfg = build_cfg(config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *classes])
    weights = str(tmp_path / "x.pth")
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    assert main(["--config-file", config, "--weights", weights, *SMALL, *classes]) == 2
    assert "has no first stage" in capsys.readouterr().err


def test_files_that_cannot_be_written_are_named(small_detectors, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = small_detectors["CenterNet2"]
    assert main([*arguments, "--json", str(tmp_path / "file" / "x.json"), *SMALL]) == 2
    assert "Cannot write" in capsys.readouterr().err
