from __future__ import annotations

import dataclasses
import gc
import mmap
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog

import leak_check
from centernet2 import Detector
from centernet2.engine import Trainer, build_cfg
from leak_check import SMALL, Holdings, growth, holdings, report

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "quickstart.yaml"


@pytest.fixture
def traced() -> Iterator[None]:
    # What the suite holds by now would be looked through for each sample
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.unfreeze()


def test_what_is_held_is_counted(tmp_path: Path, traced: None) -> None:
    before = holdings()
    pages = mmap.mmap(-1, 64 << 20)  # new ones, not what this process has freed
    pages[::4096] = b"x" * len(pages[::4096])  # touched, or they take no memory
    content = bytearray(4 << 20)
    kept = [[] for _ in range(1000)]
    with (tmp_path / "file").open("wb"):
        after = holdings(1)
    assert after.memory - before.memory == pytest.approx(66, abs=6)
    assert after.python - before.python == pytest.approx(4, abs=1)
    assert after.objects - before.objects == pytest.approx(len(kept), abs=50)
    assert after.files == before.files + 1
    assert len(content) < len(pages)
    assert (after.threads, after.processes) == (before.threads, before.processes)


def test_growth_is_a_slope_without_the_beginning() -> None:
    start = Holdings(0, 100.0, 0, 0, 5, 1, 0)
    steps = [dataclasses.replace(start, step=s, memory=900 - s / 50) for s in range(0, 500, 100)]
    steps += [
        dataclasses.replace(start, step=s, memory=800 + s / 500) for s in range(500, 2501, 100)
    ]
    assert growth(steps, "memory") == pytest.approx(2)
    assert growth(steps, "files") == pytest.approx(0)


@pytest.mark.parametrize(
    ("change", "flat"),
    [({}, True), ({"files": 6}, False), ({"processes": 1}, False), ({"threads": 2}, True)],
)
def test_what_stays_open_or_grows_is_told(
    change: dict[str, int], flat: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Holdings(0, 100.0, 0, 0, 5, 1, 0)
    steps = [dataclasses.replace(start, step=step) for step in (0, 50, 100)]
    assert report("x", [start, *steps, dataclasses.replace(start, **change)], limit=1.0) is flat
    rising = [dataclasses.replace(s, memory=s.memory + s.step / 100) for s in steps]
    assert not report("x", [start, *rising, start], limit=1.0)
    assert "Memory grows by more than 1.0 MiB" in capsys.readouterr().err


def test_wrong_numbers_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert leak_check.main(["--images", "-1"]) == 2
    assert "must be 0 or more" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        leak_check.main(["--samples", "0"])
    assert "0 is not 1 or more" in capsys.readouterr().err


@pytest.mark.slow
def test_training_and_inference_do_not_grow(two_images: str, tmp_path: Path, traced: None) -> None:
    # Without a loader's process: PyTorch keeps up to 128 references to what comes from one
    cfg = build_cfg(
        str(CONFIG),
        [*SMALL, "MODEL.DEVICE", "cpu", "MODEL.MASK_ON", "False", "MODEL.ROI_HEADS.NUM_CLASSES",
         "3", "DATASETS.TRAIN", f"('{two_images}',)", "DATASETS.TEST", "()", "SOLVER.LOG_PERIOD",
         "4", "SOLVER.MAX_ITER", "66", "SOLVER.STEPS", "()", "OUTPUT_DIR", str(tmp_path),
         "DATALOADER.NUM_WORKERS", "0", "MODEL.WEIGHTS", ""],
    )  # fmt: skip
    trained = leak_check.train(cfg, every=3)
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
    files = [record["file_name"] for record in DatasetCatalog.get(two_images)]
    detected = leak_check.stream(Detector(cfg), files, 60, every=3)

    for samples in (trained, detected):
        steady = samples[1:-2]  # the last checkpoint is written before the last sample
        assert growth(steady, "objects") < 800  # one kept at each step would be 1,000
        assert growth(steady, "python") < 8  # MiB; the metrics of 1,000 steps are kept
        assert growth(steady, "memory") < 100
        first, last = samples[0], samples[-1]
        assert (last.files, last.processes) == (first.files, first.processes)


def test_nothing_stays_open_after_evaluation_and_streams_that_are_dropped(
    two_images: str, small_detectors: dict[str, list[str]], tmp_path: Path
) -> None:
    _, config, _, weights = small_detectors["CenterNet2"]
    keys = ["DATASETS.TEST", f"('{two_images}',)", "INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE",
            "cpu", "DATALOADER.NUM_WORKERS", "1", "OUTPUT_DIR", str(tmp_path)]  # fmt: skip
    cfg = build_cfg(config, [*keys, "MODEL.WEIGHTS", weights])
    detector = Detector(cfg)
    files = [record["file_name"] for record in DatasetCatalog.get(two_images)]
    video = str(tmp_path / "video.mp4")
    writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*"mp4v"), 5, (96, 64))
    for _ in range(6):
        writer.write(np.zeros((64, 96, 3), np.uint8))
    writer.release()

    def look() -> None:
        Trainer.test(cfg, detector.predictor.model)
        for source in (files * 20, video):
            stream = detector.stream(source)
            next(stream)
            del stream

    look()  # libraries open what they keep the first time
    before = holdings()
    look()
    after = holdings()
    assert (after.files, after.threads, after.processes) == (
        before.files,
        before.threads,
        before.processes,
    )
