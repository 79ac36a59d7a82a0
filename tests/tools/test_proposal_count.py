from __future__ import annotations

import json
import math

import pytest
import torch
from PIL import Image

from centernet2.engine import build_cfg
from proposal_count import Detector, accuracy, main
from proposal_recall import load_model

SMALL = ["--opts", "DATASETS.TEST", "('two_images',)", "INPUT.MIN_SIZE_TEST", "64"]


def config(options):
    _, file, _, weights = options
    return build_cfg(file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", weights, *SMALL[1:]])


@pytest.mark.parametrize("kind", ["CenterNet2", "CascadeRCNN"])
def test_the_second_stage_gets_the_best_proposals(kind, small_detectors):
    cfg = config(small_detectors[kind])
    detector = Detector(cfg, [3, 40])
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)

    def proposals(model):
        with torch.no_grad():
            images = model.preprocess_image([{"image": image}])
            return model.proposal_generator(images, model.backbone(images.tensor))[0][0]

    few, many = proposals(detector.with_proposals(3)), proposals(detector.with_proposals(40))
    plain = proposals(load_model(cfg))
    assert (len(few), len(many)) == (3, 40)
    for found in (few, many):
        expected = plain.proposal_boxes.tensor[: len(found)]
        torch.testing.assert_close(found.proposal_boxes.tensor, expected)
    again = proposals(detector.with_proposals(3))
    torch.testing.assert_close(again.proposal_boxes.tensor, few.proposal_boxes.tensor)


def test_proposals_are_counted_and_nothing_stays_hooked(small_detectors):
    detector = Detector(config(small_detectors["CenterNet2"]), [7])
    assert accuracy(detector, 7)["proposals"] == 7
    assert accuracy(detector, 7)["proposals"] == 7
    assert not detector.with_proposals(7).proposal_generator._forward_hooks


def test_detectors_are_compared(small_detectors, tmp_path, capsys):
    files = ["--json", str(tmp_path / "x.json"), "--plot", str(tmp_path / "x.png")]
    options = [*small_detectors["CenterNet2"], *small_detectors["CascadeRCNN"], *files]
    names = ["--name", "ours", "--name", "peer"]
    assert main([*options, *names, "--counts", "20", "4", "--repeat", "2", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "torch" in lines[0] and "threads" in lines[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert cells[0] == ["k", "handed on", "AR@k", "box AP", "ms", "CPU ms"]
    assert [row[0] for row in cells if row[0].isdigit()] == ["4", "20", "4", "20"]
    written = json.loads((tmp_path / "x.json").read_text())
    assert written["data_sets"] == {"ours": "two_images", "peer": "two_images"}
    assert [line.rstrip(":") for line in lines if line.endswith(":")] == ["ours", "peer"]
    for name in ("ours", "peer"):
        for count, figures in written["figures"][name].items():
            assert figures["proposals"] <= int(count)
            assert figures["process"] > 0
            assert written["times"]["wall"][name][count]["rounds"] == 2
            assert written["times"]["process"][name][count]["median_s"] == figures["process"]
            assert not math.isnan(figures["AR"])
    assert Image.open(tmp_path / "x.png").width > 1000


def test_mistakes_are_one_sentence(small_detectors, capsys):
    for options in (["--counts", "0"], ["--repeat", "1"]):
        assert main([*small_detectors["CenterNet2"], *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "--counts must be 1 or more" in line
