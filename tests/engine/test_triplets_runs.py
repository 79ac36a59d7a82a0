"""Keypoint triplets through training, evaluation and their messages, on three real images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.engine import build_cfg
from centernet2.engine.diagnostics import out_of_memory_in_test, out_of_memory_report
from centernet2.engine.evaluate import evaluate_checkpoint
from centernet2.engine.train_step import MicroBatch
from centernet2.engine.trainer import Trainer
from centernet2.errors import UserError

SMALL = Path(__file__).resolve().parents[2] / "configs" / "triplets" / "small"
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.HOURGLASS.DIMS", "[8, 8, 12]",
    "MODEL.HOURGLASS.BLOCKS", "[1, 1, 1]",
    "MODEL.HOURGLASS.STEM_CHANNELS", "4",
    "MODEL.TRIPLETS.POOL_CHANNELS", "4",
    "MODEL.TRIPLETS.TAG_THRESHOLD", "1000.0",  # any corners pair, whatever the weights say
    "INPUT.TRAIN_SIZE", "127",
    "INPUT.MIN_SIZE_TEST", "96",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.STEPS", "()",
    "DATALOADER.NUM_WORKERS", "0",
    "TEST.REPORT", "False",
    "DATASETS.TRAIN", "('three_pedestrians',)",
    "DATASETS.TEST", "('three_pedestrians',)",
]  # fmt: skip


@pytest.fixture(scope="module")
def three_images(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A registered part of Penn-Fudan; one of its boxes is that of a crowd."""
    folder = shared_data / "penn_fudan"
    truth = json.loads((folder / "val.json").read_text())
    truth["images"] = truth["images"][:3]
    ids = {image["id"] for image in truth["images"]}
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in ids]
    truth["annotations"][0]["iscrowd"] = 1
    truth["annotations"][0].pop("segmentation", None)
    labels = tmp_path_factory.mktemp("pedestrians") / "three.json"
    labels.write_text(json.dumps(truth))
    name = "three_pedestrians"
    register_coco_format(name, str(labels), str(folder / "images"), ["person"])
    yield
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def tiny(architecture: str, output: Path, *overrides: str) -> CfgNode:
    options = [*TINY, "OUTPUT_DIR", str(output), *overrides]
    return build_cfg(str(SMALL / f"{architecture}_pennfudan.yaml"), options)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["CenterNet", "CornerNet"])
def test_a_run_trains_saves_and_is_evaluated(
    architecture: str, three_images: None, tmp_path: Path
) -> None:
    trainer = Trainer(tiny(architecture, tmp_path))
    assert type(trainer.optimizer) is torch.optim.Adam
    trainer.resume_or_load(resume=False)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    results = trainer.train()
    assert 0 <= results["bbox"]["AP"] <= 100
    after = list(trainer.model.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after))

    weights = str(tmp_path / "model_final.pth")
    again = evaluate_checkpoint(tiny(architecture, tmp_path / "eval", "MODEL.WEIGHTS", weights))
    assert again["bbox"]["AP"] == pytest.approx(results["bbox"]["AP"], nan_ok=True)


def test_another_number_of_classes_is_refused(three_images: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set MODEL\.TRIPLETS\.NUM_CLASSES 1\."):
        Trainer(tiny("CenterNet", tmp_path, "MODEL.TRIPLETS.NUM_CLASSES", "80"))


def test_out_of_memory_names_keys_that_help(tmp_path: Path) -> None:
    cfg = tiny("CenterNet", tmp_path, "INPUT.MIN_SIZE_TEST", "0")
    said = out_of_memory_in_test(cfg)
    assert "MODEL.TRIPLETS.TEST_SCALES (now [1.0])" in said and "INPUT.MIN_SIZE_TEST" in said
    batch = [MicroBatch(["a.jpg"], [(127, 127)], {})]
    assert "INPUT.TRAIN_SIZE (now 127)" in out_of_memory_report(cfg, 0, batch, torch.device("cpu"))
    # Other models at the images' own sizes have no such scales
    plain = build_cfg(overrides=["INPUT.MIN_SIZE_TEST", "0"])
    assert "TRIPLETS" not in out_of_memory_in_test(plain)
