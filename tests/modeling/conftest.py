"""Small configs and batches for tests of whole models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.structures import BitMasks, Boxes, Instances

from centernet2.config import add_centernet_config, resolve_renamed_keys

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# Channels and depth cut down so that a training step takes a fraction of a second
SHRUNK = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.DEPTH", 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 64,
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.BACKBONE.FREEZE_AT", 0,
    "MODEL.FPN.OUT_CHANNELS", 32,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM", 16,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32,
]  # fmt: skip


@pytest.fixture
def load_config() -> Callable[..., CfgNode]:
    """``load_config("CenterNet2_R50_1x.yaml", KEY, VALUE, ...)``; ``shrink=True`` by default."""

    def load(name: str, *overrides: Any, shrink: bool = True) -> CfgNode:
        cfg = get_cfg()
        add_centernet_config(cfg)
        cfg.merge_from_file(str(CONFIGS / name))
        cfg.merge_from_list([*(SHRUNK if shrink else ["MODEL.DEVICE", "cpu"]), *overrides])
        return resolve_renamed_keys(cfg)

    return load


@pytest.fixture
def make_batch() -> Callable[..., list[dict[str, Any]]]:
    """``make_batch([3, 0])``: random images with that many random boxes (and masks)."""

    def make(
        counts: list[int], height: int = 128, width: int = 160, num_classes: int = 1
    ) -> list[dict[str, Any]]:
        generator = torch.Generator().manual_seed(7)
        batch = []
        for count in counts:
            low = torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) * 0.6
            size = (
                8 + torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) * 0.35
            )
            instances = Instances((height, width))
            instances.gt_boxes = Boxes(torch.cat([low, low + size], dim=1))
            instances.gt_boxes.clip((height, width))
            instances.gt_classes = torch.randint(0, num_classes, (count,), generator=generator)
            masks = torch.zeros(count, height, width, dtype=torch.bool)
            for mask, box in zip(masks, instances.gt_boxes.tensor.long()):
                mask[box[1] : box[3], box[0] : box[2]] = True
            instances.gt_masks = BitMasks(masks)
            image = torch.randint(0, 256, (3, height, width), generator=generator)
            batch.append(
                {
                    "image": image.to(torch.uint8),
                    "instances": instances,
                    "height": height,
                    "width": width,
                    "file_name": f"image_{len(batch)}.jpg",
                }
            )
        return batch

    return make


@pytest.fixture
def randomise():
    """Fill a model with weights that keep activations moderate and offsets around a pixel."""

    def fill(model):
        generator = torch.Generator().manual_seed(0)
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            if name.endswith("running_var"):
                noise = 0.5 + noise.abs()
            elif value.dim() == 4:
                noise /= value[0].numel() ** 0.5
            elif name.endswith("weight"):
                noise = 1 + 0.1 * noise
            else:
                noise *= 0.2
            value.copy_(noise)
        return model

    return fill
