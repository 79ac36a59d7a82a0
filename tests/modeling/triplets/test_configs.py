"""The shipped configs: published sizes and schedules, and narrow ones on real images end to end."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler

from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.data.keypoint_mapper import training_mapper
from centernet2.engine import Checkpointer, build_cfg
from centernet2.engine.test_time_augmentation import build_augmented
from centernet2.inference.predictor import Predictor
from centernet2.modeling.triplets import CenterNetTriplets, CornerNet

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "triplets"
NAMES = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.rglob("*.yaml") if "Base" not in p.name)
SMALL = ["small/CenterNet_pennfudan.yaml", "small/CornerNet_pennfudan.yaml"]
PARAMETERS = {
    "CenterNet-104": 210_062_960, "CenterNet-52": 104_844_152, "CornerNet-104": 201_035_212,
}  # fmt: skip
# A fraction of the small network, to be run many times
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.HOURGLASS.DIMS", "[8, 8, 12]",
    "MODEL.HOURGLASS.BLOCKS", "[1, 1, 1]",
    "MODEL.HOURGLASS.STEM_CHANNELS", "4",
    "MODEL.TRIPLETS.POOL_CHANNELS", "4",
    "MODEL.TRIPLETS.TAG_THRESHOLD", "9.0",
    "INPUT.TRAIN_SIZE", "127",
]  # fmt: skip


def load(name, *overrides):
    return build_cfg(str(CONFIGS / name), list(overrides))


def on_meta(cfg):
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(name):
    model = on_meta(load(f"{name}.yaml"))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_what_its_name_says(name):
    cfg = load(name)
    model = on_meta(cfg)
    assert type(model) is (CornerNet if "CornerNet" in name else CenterNetTriplets)
    assert len(model.backbone.output_shape()) == (2 if "-104" in name else 1)
    several = "multiscale" in name
    assert (len(model.inference.scales) == 5, model.inference.nms.merge) == (several, several)
    assert model.inference.mirror
    assert Path(name).stem == Path(cfg.OUTPUT_DIR).name
    text = (CONFIGS / name).read_text()
    assert f"configs/triplets/{name}" in text, "the header's command names another file"


@pytest.mark.parametrize(
    ("name", "centers", "pooled", "cascade"),
    [
        ("CenterNet-52.yaml", True, True, True),
        ("ablation/CenterNet-52_baseline.yaml", False, False, False),
        ("ablation/CenterNet-52_cascade.yaml", False, False, True),
        ("ablation/CenterNet-52_region.yaml", True, False, False),
        ("ablation/CenterNet-52_region_center.yaml", True, True, False),
        ("CornerNet-52.yaml", False, False, False),
    ],
)
def test_ablations_leave_out_what_they_say(name, centers, pooled, cascade):
    heads = on_meta(load(name)).heads
    assert heads.centers == centers
    assert hasattr(heads.tl_cnvs[0], "P1_look_conv") == cascade
    if centers:
        assert (heads.ct_cnvs[0].first.__name__ == "column_max") == pooled


@pytest.mark.parametrize(
    ("name", "batch", "steps", "drop"),
    [
        ("CenterNet-104.yaml", 48, 480_000, 450_000),
        ("CornerNet-104.yaml", 50, 500_000, 450_000),
        ("CenterNet-104_10k.yaml", 4, 10_000, None),
    ],
)
def test_schedules(name, batch, steps, drop):
    cfg = load(name)
    assert (batch, steps) == (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER)
    assert cfg.SOLVER.OPTIMIZER == "Adam" and not cfg.SOLVER.CLIP_GRADIENTS.ENABLED
    assert cfg.SOLVER.WEIGHT_DECAY == cfg.SOLVER.WEIGHT_DECAY_NORM == 0
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)

    def rate(iteration):
        scheduler.last_epoch = iteration
        return scheduler.get_lr()[0]

    assert rate(0) == rate(1) == pytest.approx(2.5e-4)
    assert rate((drop or steps) - 1) == pytest.approx(2.5e-4)
    if drop:
        assert rate(drop) == rate(steps - 1) == pytest.approx(2.5e-5)


def test_pixels_are_normalised_as_published():
    cfg = load("CenterNet-104.yaml")
    assert cfg.INPUT.FORMAT == "BGR"
    mean, std = (np.array(v) / 255 for v in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    np.testing.assert_allclose(mean, [0.40789654, 0.44719302, 0.47026115], rtol=1e-9)
    np.testing.assert_allclose(std, [0.28863828, 0.27408164, 0.27809835], rtol=1e-9)
    assert cfg.INPUT.MIN_SIZE_TEST == 0, "test images must keep their size"


@pytest.fixture(scope="module")
def pedestrians(shared_data):
    """Records of two images of Penn-Fudan."""
    folder = shared_data / "penn_fudan"
    name = "triplets_pedestrians"
    register_coco_format(name, str(folder / "val.json"), str(folder / "images"), ["person"])
    yield DatasetCatalog.get(name)[:2]
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.mark.parametrize("name", SMALL)
def test_a_step_on_real_images_lowers_the_loss_on_them(name, pedestrians):
    cfg = load(name, *TINY)
    mapper = training_mapper(cfg)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (augmentation draws from it)
    batch = [mapper(record) for record in pedestrians]
    assert all(x["image"].shape == (3, 127, 127) for x in batch)
    model = build_model(cfg).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    totals = []
    for _ in range(6):
        optimizer.zero_grad()
        total = sum(model(batch).values())
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert np.isfinite(totals).all()
    assert totals[-1] < totals[0]


@pytest.mark.parametrize("name", SMALL)
def test_predictor_and_augmented_test_on_a_real_image(name, pedestrians, tmp_path, randomise):
    cfg = load(name, *TINY, "MODEL.WEIGHTS", str(tmp_path / "model.pth"))
    model = randomise(build_model(cfg))
    Checkpointer(model, str(tmp_path)).save("model")
    image = cv2.imread(pedestrians[0]["file_name"])
    image = cv2.resize(image, (150, 110))

    predictor = Predictor(cfg, threshold=0.3)
    (found,) = predictor([image])
    assert found.image_size == (110, 150)
    assert len(found) and (found.scores >= 0.3).all()
    assert len(predictor.class_names) == 1

    cfg.TEST.AUG.MIN_SIZES = (64, 110)
    augmented = build_augmented(cfg, model.eval())
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    (merged,) = augmented([{"image": pixels, "height": 110, "width": 150}])
    assert merged["instances"].image_size == (110, 150)
    assert len(merged["instances"])
