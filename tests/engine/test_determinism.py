"""A run with a seed is repeated bit by bit, by another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from centernet2.engine import load_weights_file

SCRIPT = Path(__file__).with_name("tiny_train.py")
REPO = SCRIPT.parents[2]
# Draws images, flips, sizes and RoIs; few channels
SETTINGS: tuple[object, ...] = (
    "MODEL.META_ARCHITECTURE", "GeneralizedRCNN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 8,
    "MODEL.FPN.OUT_CHANNELS", 64,
    "MODEL.CENTERNET.NUM_BOX_CONVS", 1,
    "MODEL.ROI_HEADS.NUM_CLASSES", 2,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 32,
    "SOLVER.BASE_LR", 0.01,
    "SOLVER.MAX_ITER", 4,
    "SOLVER.STEPS", (),
)  # fmt: skip


@pytest.mark.slow
def test_a_seed_repeats_losses_and_weights_bit_by_bit(
    tiny: ModuleType, tiny_folder: Path, tmp_path: Path
) -> None:
    flags = ["--config-file", str(REPO / "configs" / "CenterNet2_R50_1x.yaml")]
    runs = {"first": ("SEED", 5), "again": ("SEED", 5, "DATALOADER.NUM_WORKERS", 2),
            "other": ("SEED", 6)}  # fmt: skip
    processes = []
    for number, (name, changes) in enumerate(runs.items()):
        args = tiny.arguments(tmp_path / name, *SETTINGS, *changes)
        command = [sys.executable, str(SCRIPT), str(tiny_folder), *flags, *args.opts]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO),
                       "PYTHONHASHSEED": str(number)}  # fmt: skip
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
        )  # fmt: skip
    errors = [process.communicate(timeout=500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors

    weights = {n: load_weights_file(tmp_path / n / "model_final.pth")["model"] for n in runs}
    losses = {n: _losses(tmp_path / n / "metrics.json") for n in runs}
    assert len(losses["first"]) == 4
    assert losses["again"] == losses["first"] != losses["other"]
    for name, value in weights["first"].items():
        assert torch.equal(weights["again"][name], value), name


def _losses(metrics: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if "loss" in k} for row in rows]
    return [row for row in kept if row]
