"""What tests/engine/test_distributed.py has every process of a run do.

A module of its own, since processes are started with the name of their main function.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from torch import nn

from centernet2.engine import Trainer, argument_parser, setup

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "CenterNet2_R50_1x.yaml"
IMAGES, SIZE = 16, 128
# All cells are proposals and all proposals are learned from, so that nothing is drawn by chance and
# each image has as many: the second stage's losses are means over the RoIs of a process
EVERY_CELL = sum((SIZE // stride) ** 2 for stride in (8, 16, 32, 64, 128))
SETTINGS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.FPN.OUT_CHANNELS": 64,
    "MODEL.CENTERNET.NUM_BOX_CONVS": 1,
    "MODEL.CENTERNET.INFERENCE_TH": 0.0,
    "MODEL.CENTERNET.NOT_NMS": True,
    "MODEL.CENTERNET.POST_NMS_TOPK_TRAIN": EVERY_CELL,
    "MODEL.ROI_HEADS.NUM_CLASSES": 2,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": EVERY_CELL,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 1.0,
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": False,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "DATASETS.TRAIN": ("sixteen",),
    "DATASETS.TEST": (),
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": False,
    "INPUT.MIN_SIZE_TRAIN": (SIZE,),
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.REFERENCE_IMS_PER_BATCH": 8,
    "SOLVER.ACCUMULATION_STEPS": 2,
    "SOLVER.BASE_LR": 0.01,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.STEPS": (),
    "SOLVER.MAX_ITER": 3,
    "SOLVER.CHECKPOINT_PERIOD": 0,
    "SEED": 5,
}


def write_data(folder: Path) -> None:
    """Squares with up to three objects; two of five have none. Evaluated: 5 and 3 of them."""
    random = np.random.default_rng(0)
    records, annotations = [], []
    for number in range(IMAGES):
        picture = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        for _ in range((0, 2, 1, 0, 3)[number % 5]):
            x, y, w, h = (int(v) for v in random.integers([0, 0, 10, 10], [30, 30, 34, 34]))
            picture[y : y + h, x : x + w] = (60, 200, 90)
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number + 1, "iscrowd": 0,
                 "category_id": number % 2 + 1, "bbox": [x, y, w, h], "area": w * h,
                 "segmentation": [corners]}
            )  # fmt: skip
        name = f"{number:03d}.png"
        cv2.imwrite(str(folder / name), picture)
        records.append({"id": number + 1, "file_name": name, "width": 64, "height": 64})
    categories = [{"id": 1, "name": "even"}, {"id": 2, "name": "odd"}]
    for name, count in (("sixteen", IMAGES), ("five", 5), ("three", 3)):
        content = {
            "images": records[:count],
            "annotations": [a for a in annotations if a["image_id"] <= count],
            "categories": categories,
        }
        (folder / f"{name}.json").write_text(json.dumps(content))


def register_data(folder: Path) -> None:
    for name in ("sixteen", "five", "three"):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
        register_coco_instances(name, {}, str(folder / f"{name}.json"), str(folder))


def arguments(data: Path, output: Path, processes: int) -> argparse.Namespace:
    pairs = [str(part) for pair in {**SETTINGS, "OUTPUT_DIR": output}.items() for part in pair]
    flags = ["--config-file", str(CONFIG), "--num-cpu-procs", str(processes)]
    args = argument_parser().parse_args([*flags, *pairs])
    args.folder = str(data)
    return args


class Misplaced(nn.Module):
    """Finds the objects of ``sixteen``, each some pixels beside its place, and one that is none."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._truth = json.loads((folder / "sixteen.json").read_text())["annotations"]

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        return [{"instances": self._detect(sample)} for sample in batch]

    def _detect(self, sample: dict[str, Any]) -> Instances:
        self.seen.append(Path(sample["file_name"]).name)
        found = Instances((sample["height"], sample["width"]))
        own = [a for a in self._truth if a["image_id"] == sample["image_id"]]
        boxes = [[*a["bbox"][:2], *a["bbox"][2:]] for a in own]
        boxes = [[x + i % 4, y, x + i % 4 + w, y + h] for i, (x, y, w, h) in enumerate(boxes)]
        number = sample["image_id"]
        found.pred_boxes = Boxes(torch.tensor([*boxes, [1.0, 1.0, 2.0 + number, 9.0]]))
        found.scores = torch.tensor(
            [0.9 - 0.01 * ((7 * i + number) % 11) for i in range(len(own) + 1)]
        )
        found.pred_classes = torch.tensor([*(a["category_id"] - 1 for a in own), number % 2])
        return found


def main(args: argparse.Namespace) -> None:
    """Train, train with masks, evaluate; the main process writes ``found.pt``."""
    torch.set_num_threads(1)
    register_data(Path(args.folder))
    cfg = setup(args)
    start, trainer, losses, positives = _train(cfg)
    model = trainer.checkpointer.model
    masks = cfg.clone()
    masks.defrost()
    masks.MODEL.MASK_ON = True
    masks.SOLVER.MAX_ITER = 2
    masks.MODEL.ROI_HEADS.POSITIVE_FRACTION = 0.25
    _, with_masks, mask_losses, _ = _train(masks)
    found = {
        "losses": losses,
        "positives": comm.all_gather(positives),
        "start": start,
        "end": parameters(model),
        "hashes": comm.all_gather([_hash(model), _hash(with_masks.checkpointer.model)]),
        "mask losses": mask_losses,
        "metrics": {},
        "images": {},
    }
    for name in ("five", "three"):
        cfg = cfg.clone()
        cfg.defrost()
        cfg.DATASETS.TEST = (name,)
        oracle = Misplaced(Path(args.folder))
        found["metrics"][name] = Trainer.test(cfg, oracle)
        found["images"][name] = comm.all_gather(oracle.seen)
    if comm.is_main_process():
        torch.save(found, Path(cfg.OUTPUT_DIR, "found.pt"))


def parameters(model: nn.Module) -> torch.Tensor:
    """All of them as one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _train(cfg: Any) -> tuple[torch.Tensor, Trainer, list[dict[str, float]], list[int]]:
    """First parameters, trained trainer, losses of each step, own objects of each batch."""
    trainer = Trainer(cfg)
    start = parameters(trainer.checkpointer.model)
    losses, positives = [], []
    step, batch = trainer._trainer.run, trainer._trainer._next_batch

    def recording_losses(*args: Any, **kwargs: Any) -> Any:
        result = step(*args, **kwargs)
        losses.append(result.losses)
        return result

    def recording_objects() -> Any:
        samples = batch()
        positives.append(sum(len(sample["instances"]) for sample in samples))
        return samples

    trainer._trainer.run, trainer._trainer._next_batch = recording_losses, recording_objects
    trainer.resume_or_load(resume=False)
    trainer.train()
    return start, trainer, losses, positives


def _hash(model: nn.Module) -> str:
    values = [value.numpy().tobytes() for value in model.state_dict().values()]
    return hashlib.sha256(b"".join(values)).hexdigest()
