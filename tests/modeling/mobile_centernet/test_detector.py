"""The detector without its weights: the letter-box, batches, what it refuses."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from centernet2.config import add_centernet_config
from centernet2.errors import UserError
from centernet2.inference.zoo import shipped_config
from centernet2.modeling.inference_form import to_inference_form
from centernet2.modeling.mobile_centernet import MobileCenterNet


def config() -> CfgNode:
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_file(str(shipped_config("coco-mobile")))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@pytest.fixture
def model() -> MobileCenterNet:
    built = build_model(config()).eval()
    assert isinstance(built, MobileCenterNet)
    return built


def test_size_is_that_of_the_published_network(model: MobileCenterNet) -> None:
    to_inference_form(model)
    assert sum(p.numel() for p in model.parameters()) == 2_014_924
    assert len(list(model.parameters())) == 166


def bright_spots(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Stands for the network: pixels of 200 are objects of class 5, 8 pixels wide and 12 high."""
    assert pixels.shape[-2:] == (64, 64)
    scores = torch.zeros(len(pixels), 80, 16, 16)
    scores[:, 5] = (pixels[:, 0, ::4, ::4] == 200).float() * 0.75
    distances = torch.tensor([4.0, 6, 4, 6]).view(1, 4, 1, 1).expand(len(pixels), 4, 16, 16)
    return scores, distances


@pytest.mark.parametrize("size", [(64, 40), (40, 64), (62, 50)])
def test_boxes_are_in_pixels_of_the_image(
    size: tuple[int, int], model: MobileCenterNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "maps", bright_spots)
    image = torch.zeros(3, *size, dtype=torch.uint8)
    # The corner of a cell of the square, of which the image covers the middle
    y, x = 24 - (64 - size[0]) // 2 % 4, 20 - (64 - size[1]) // 2 % 4
    image[0, y, x] = 200
    (found,) = model([{"image": image, "height": 2 * size[0], "width": 3 * size[1]}])
    best = found["instances"][found["instances"].scores > 0]
    assert best.pred_classes.tolist() == [5]
    assert best.scores.tolist() == [0.75]
    expected = [[3 * (x - 4), 2 * (y - 6), 3 * (x + 4), 2 * (y + 6)]]
    torch.testing.assert_close(best.pred_boxes.tensor, torch.tensor(expected, dtype=torch.float32))


def test_a_batch_gives_what_its_images_give_alone(model: MobileCenterNet) -> None:
    torch.nn.init.constant_(model.head.distances[1].bias, 1.0)  # boxes are not empty
    sizes = [(64, 40), (96, 96), (40, 64)]
    given = [{"image": torch.randint(0, 256, (3, *size))} for size in sizes]
    with torch.inference_mode():
        together = model(given)
        alone = [model([one])[0] for one in given]
    for a, b in zip(together, alone):
        assert a["instances"].image_size == b["instances"].image_size
        torch.testing.assert_close(a["instances"].scores, b["instances"].scores)
        assert len(a["instances"]) > 50


def test_training_is_refused(model: MobileCenterNet) -> None:
    with pytest.raises(UserError, match="does not train; .*CenterNet2_MobileNetV3_pennfudan"):
        model.train()([{"image": torch.zeros(3, 64, 64)}])


def test_a_backbone_of_another_stride_is_refused() -> None:
    cfg = config()
    cfg.MODEL.BACKBONE.NAME = "build_mobilenetv3_backbone"
    with pytest.raises(UserError, match="one map of stride 4"):
        build_model(cfg)
