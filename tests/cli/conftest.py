"""A tiny random one-stage model on disk, photos of noise, and the command line in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from centernet2.cli.main import main
from centernet2.engine.defaults import build_cfg

REPO = Path(__file__).resolve().parents[2]
CONFIG = """
MODEL:
  META_ARCHITECTURE: CenterNetDetector
  WEIGHTS: ""
  DEVICE: cpu
  BACKBONE: {NAME: build_p67_resnet_fpn_backbone}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res3, res4, res5]}
  FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 64}
  PROPOSAL_GENERATOR: {NAME: CenterNet}
  CENTERNET:
    {NUM_CLASSES: 2, NUM_CLS_CONVS: 1, NUM_BOX_CONVS: 1, PRIOR_PROB: 0.4, POST_NMS_TOPK_TEST: 5}
INPUT: {MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 96}
DATASETS: {TEST: []}
"""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training run: ``config.yaml`` and ``model_final.pth``."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(CONFIG)
    torch.manual_seed(0)
    weights = build_model(build_cfg(str(folder / "config.yaml"))).state_dict()
    torch.save({"model": weights}, folder / "model_final.pth")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folder of 7 photos, two of them in a folder of their own."""
    names = [*(f"{number}.png" for number in range(5)), "deep/5.png", "deep/6.png"]
    for seed, name in enumerate(names):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command: exit status, what it prints and what it says on stderr."""
    monkeypatch.setattr(signal, "signal", lambda *args: None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call
