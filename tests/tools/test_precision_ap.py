from __future__ import annotations

import torch

from centernet2.engine import Trainer
from precision_ap import main


def test_each_precision_is_evaluated_in_itself(small_detectors, monkeypatch, capsys, tmp_path):
    seen = []
    test = Trainer.test

    def spied(cfg, model):
        kinds = set()
        watched = model.backbone.register_forward_hook(
            lambda module, inputs, outputs: kinds.add(outputs["p3"].dtype)
        )
        results = test(cfg, model)
        watched.remove()
        seen.append(kinds)
        return results

    monkeypatch.setattr(Trainer, "test", spied)
    arguments = [*small_detectors["CenterNet2"], "--precision", "float32", "bfloat16", "--opts"]
    options = ["DATASETS.TEST", "('two_images',)", "INPUT.MIN_SIZE_TEST", "64"]
    options += ["DATALOADER.NUM_WORKERS", "0", "OUTPUT_DIR", str(tmp_path)]
    assert main([*arguments, *options]) == 0
    assert seen == [{torch.float32}, {torch.bfloat16}]

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][:4] == ["precision", "bbox/AP", "bbox/AP50", "bbox/AP75"]
    assert [row[0] for row in cells[2:]] == ["float32", "bfloat16"]
    assert all(float(row[1]) >= 0 for row in cells[2:])


def test_mistakes_are_one_sentence(capsys):
    assert main(["--config-file", "none.yaml"]) == 2
    assert "none.yaml" in capsys.readouterr().err
