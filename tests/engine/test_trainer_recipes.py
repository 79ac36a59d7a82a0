"""What the published recipes ask of the trainer: sizes of images, and the cosine schedule."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from centernet2.engine import Trainer, setup
from centernet2.engine.diagnostics import OutOfMemoryError
from centernet2.inference.predictor import Predictor

RECIPE = (
    "INPUT.CUSTOM_AUG", "EfficientDetResizeCrop", "INPUT.TRAIN_SIZE", 40,
    "INPUT.TEST_INPUT_TYPE", "square", "INPUT.TEST_SIZE", 50, "DATASETS.TEST", "('tiny',)",
)  # fmt: skip


def test_loaders_and_predictor_use_the_sizes_of_the_recipe(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    cfg = setup(tiny.arguments(tmp_path, *RECIPE))
    loader = Trainer.build_train_loader(cfg)
    sizes = set()
    for _, batch in zip(range(30), loader):
        sizes |= {tuple(sample["image"].shape[1:]) for sample in batch}
    assert max(max(size) for size in sizes) == 40
    assert min(max(size) for size in sizes) < 20
    assert len(sizes) > 20
    predictor = Predictor(cfg)
    # The data set's images of 48 x 64 and 64 x 48 get a longer side of 50.
    for batch in Trainer.build_test_loader(cfg, "tiny"):
        image = batch[0]["image"]
        assert sorted(image.shape) == [3, 37, 50]
        blank = np.zeros((batch[0]["height"], batch[0]["width"], 3), dtype=np.uint8)
        assert predictor._prepare(blank)["image"].shape == image.shape


def test_predictor_sees_the_pixels_that_evaluation_sees(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:

    cfg = setup(tiny.arguments(tmp_path, *RECIPE, "INPUT.FORMAT", "RGB"))
    predictor = Predictor(cfg)
    for batch in Trainer.build_test_loader(cfg, "tiny"):
        prepared = predictor._prepare(cv2.imread(batch[0]["file_name"]))
        assert torch.equal(prepared["image"], batch[0]["image"])


def test_a_run_of_the_recipe_trains_and_evaluates(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    # The tiny detector needs an object in each image: no crops.
    recipe = (*RECIPE, "INPUT.SCALE_RANGE", "(0.8, 1.0)", "SOLVER.MAX_ITER", 4)
    trainer = Trainer(setup(tiny.arguments(tmp_path, *recipe)))
    assert "bbox" in trainer.train()


def test_out_of_memory_names_the_keys_of_the_recipe(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    cfg = setup(tiny.arguments(tmp_path, *RECIPE))
    trainer = Trainer(cfg)
    monkeypatch.setattr(tiny.TinyDetector, "forward", fail)
    with pytest.raises(OutOfMemoryError, match=r"INPUT\.TRAIN_SIZE \(now 40\)"):
        trainer.train()
    with pytest.raises(OutOfMemoryError, match=r"turn down INPUT\.TEST_SIZE \(now 50\)\."):
        Trainer.test(cfg, trainer.model)


def test_cosine_schedule_from_a_config_is_not_changed_by_stopping_early(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    options = ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.MAX_ITER", 20,
               "SOLVER.WARMUP_ITERS", 4, "SOLVER.WARMUP_FACTOR", 0.1, "SOLVER.BASE_LR", 0.02,
               "SOLVER.TRAIN_ITER", 12)  # fmt: skip
    trainer = Trainer(setup(tiny.arguments(tmp_path, *options)))
    rates = []
    step = trainer._trainer.run

    def recording(*a: Any, **k: Any) -> Any:
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        return step(*a, **k)

    trainer._trainer.run = recording  # type: ignore[method-assign]
    trainer.train()
    cosine = [0.02 * 0.5 * (1 + math.cos(math.pi * i / 20)) for i in range(12)]
    assert rates[4:] == pytest.approx(cosine[4:])
    # The warm-up is a line from a tenth of the rate to the cosine's value at its end.
    assert rates[0] == pytest.approx(0.002)
    assert rates[:5] == pytest.approx([0.002 + i / 4 * (rates[4] - 0.002) for i in range(5)])
