"""A detector and a data set small enough to train in a second, and their train_net.py.

As a script: ``python tiny_train.py DATA_FOLDER [train_net.py's arguments]``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils import comm
from torch import nn

from centernet2.engine import Trainer, argument_parser, evaluate_checkpoint, launch, setup

CLASSES = ["box", "disc"]


@META_ARCH_REGISTRY.register()
class TinyDetector(nn.Module):
    """Finds one object an image; free of randomness, and each image's loss is its own."""

    dropout = 0.0

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor(127.0))
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(self.dropout),
        )
        self.cls = nn.Linear(256, len(CLASSES))
        self.box = nn.Linear(256, 4)
        self.to(cfg.MODEL.DEVICE)

    def forward(self, batch: list[dict[str, Any]]) -> Any:
        features = torch.cat([self._features(sample["image"]) for sample in batch])
        logits, boxes = self.cls(features).float(), self.box(features).float().sigmoid()
        if self.training:
            return self._losses(batch, logits, boxes)
        return [self._detect(*parts) for parts in zip(batch, logits, boxes)]

    def _features(self, image: torch.Tensor) -> torch.Tensor:
        image = (image.to(self.pixel_mean.device).float() - self.pixel_mean) / 127
        return self.layers(ImageList.from_tensors([image], 32).tensor)

    @staticmethod
    def _losses(
        batch: list[dict[str, Any]], logits: torch.Tensor, boxes: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        truth = [sample["instances"] for sample in batch]
        classes = torch.stack([t.gt_classes[0] for t in truth]).to(logits.device)
        targets = torch.stack(
            [
                t.gt_boxes.tensor[0] / torch.tensor([*t.image_size[::-1], *t.image_size[::-1]])
                for t in truth
            ]
        ).to(boxes.device)
        return {
            "loss_cls": nn.functional.cross_entropy(logits, classes),
            "loss_box": nn.functional.l1_loss(boxes, targets),
        }

    @staticmethod
    def _detect(
        sample: dict[str, Any], logits: torch.Tensor, box: torch.Tensor
    ) -> dict[str, Instances]:
        height, width = sample["height"], sample["width"]
        low, high = torch.minimum(box[:2], box[2:]), torch.maximum(box[:2], box[2:])
        corners = torch.cat([low, high + 1e-3]) * torch.tensor([width, height] * 2).to(box)
        score, label = logits.softmax(0).max(0)
        found = Instances((height, width))
        found.pred_boxes = Boxes(corners[None])
        found.scores, found.pred_classes = score[None], label[None]
        return {"instances": found}


@META_ARCH_REGISTRY.register()
class TinyNoisyDetector(TinyDetector):
    """Draws random numbers in training."""

    dropout = 0.3


@META_ARCH_REGISTRY.register()
class TinyBreakingDetector(TinyDetector):
    """Its box loss becomes NaN in the forward pass of image 3, in process 1 if there are two."""

    def _losses(self, batch: Any, logits: torch.Tensor, boxes: torch.Tensor) -> Any:
        losses = TinyDetector._losses(batch, logits, boxes)
        if any(sample["file_name"].endswith("003.png") for sample in batch):
            losses["loss_box"] = losses["loss_box"] * float("nan")
        return losses


@META_ARCH_REGISTRY.register()
class TinyDyingDetector(TinyDetector):
    """Its process 1 is killed in the sixth step."""

    steps = 0

    def _losses(self, *args: Any) -> Any:
        self.steps += 1
        if comm.get_rank() == 1 and self.steps == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return TinyDetector._losses(*args)


def write_data(folder: Path, images: int = 12) -> None:
    """One rectangle or disc an image, in landscape and portrait; COCO JSON without "info"."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    records, annotations = [], []
    for number in range(images):
        width, height = (64, 48) if number % 3 else (48, 64)
        picture = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
        x, y, w, h = (int(v) for v in random.integers([2, 2, 26, 26], [12, 12, 36, 36]))
        label = number % 2
        if label == 0:
            cv2.rectangle(picture, (x, y), (x + w, y + h), (60, 200, 90), -1)
        else:
            centre = (x + w // 2, y + h // 2)
            cv2.ellipse(picture, centre, (w // 2, h // 2), 0, 0, 360, (200, 90, 60), -1)
        name = f"{number:03d}.png"
        cv2.imwrite(str(folder / name), picture)
        records.append({"id": number + 1, "file_name": name, "width": width, "height": height})
        annotations.append(
            {
                "id": number + 1,
                "image_id": number + 1,
                "category_id": label + 1,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": 0,
            }
        )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    data = {"images": records, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(data))


def register_data(folder: Path, name: str = "tiny") -> None:
    """Register the data of :func:`write_data`, in place of an earlier folder."""
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register_coco_instances(name, {}, str(folder / "annotations.json"), str(folder))


def arguments(output: Path, *overrides: object, flags: tuple[str, ...] = ()) -> argparse.Namespace:
    """The command line of a short run; flags come before the overrides."""
    settings: dict[str, object] = {
        "OUTPUT_DIR": output,
        "MODEL.META_ARCHITECTURE": "TinyDetector",
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        "MODEL.MASK_ON": False,
        "DATASETS.TRAIN": ("tiny",),
        "DATASETS.TEST": (),
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.MIN_SIZE_TRAIN": (40, 48, 56),
        "INPUT.MAX_SIZE_TRAIN": 80,
        "INPUT.MIN_SIZE_TEST": 48,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.REFERENCE_IMS_PER_BATCH": 2,
        "SOLVER.BASE_LR": 0.05,
        "SOLVER.MAX_ITER": 8,
        "SOLVER.STEPS": (6,),
        "SOLVER.WARMUP_ITERS": 3,
        "SOLVER.CHECKPOINT_PERIOD": 4,
        "SOLVER.LOG_PERIOD": 1,
        "SEED": 7,
    }
    settings.update(zip(overrides[::2], overrides[1::2]))
    pairs = [str(part) for pair in settings.items() for part in pair]
    return argument_parser().parse_args([*flags, *pairs])


def main(args: argparse.Namespace) -> None:
    """train_net.py's main, with the tiny data registered in each process."""
    register_data(Path(args.tiny_folder))
    cfg = setup(args)
    if args.eval_only:
        evaluate_checkpoint(cfg, resume=args.resume)
        return
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


if __name__ == "__main__":
    parsed = argument_parser().parse_args(sys.argv[2:])
    parsed.tiny_folder = sys.argv[1]
    sys.exit(launch(main, parsed))
