"""Odd, damaged and hostile image files, wherever images are read.

Each is either read, as what it shows, or refused in one sentence with its name.
"""

from __future__ import annotations

import itertools
import json
import logging
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image

from centernet2 import Detector
from centernet2.cli.main import main
from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.data.mapper import DetectionMapper
from centernet2.engine import Trainer, argument_parser, build_cfg, setup
from centernet2.engine.broken_images import BrokenImage, map_or_broken
from centernet2.engine.data_loader import TrainLoader
from centernet2.errors import UserError
from centernet2.inference.inputs import find_images, read_image

WIDTH, HEIGHT = 40, 24
# Red above, blue below: seen in every kind of file, and in which way up it is
TOP, BOTTOM = (200, 30, 40), (20, 40, 210)


def picture(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = TOP, BOTTOM
    return Image.fromarray(pixels)


def sixteen_bits(path: Path) -> None:
    grey = np.full((HEIGHT, WIDTH), 200 << 8 | 7, np.uint16)
    grey[HEIGHT // 2 :] = 40 << 8
    Image.fromarray(grey).save(path)


def animated(path: Path, **options: Any) -> None:
    frames = [picture(), Image.new("RGB", (WIDTH, HEIGHT), "white")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, loop=0, **options)


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    picture().transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


def damaged_exif(path: Path) -> None:
    picture().save(path, quality=95, exif=b"Exif\0\0" + b"\xff" * 40)


def palette(path: Path) -> None:
    picture().convert("P", palette=Image.Palette.ADAPTIVE).save(path)


def transparent_palette(path: Path) -> None:
    picture().convert("P", palette=Image.Palette.ADAPTIVE).save(path, transparency=0)


def writer(mode: str = "RGB", **options: Any) -> Callable[[Path], None]:
    return lambda path: picture().convert(mode).save(path, **options)


GREY = {"grey.png", "grey_alpha.png", "black_and_white.png", "16_bits.png", "16_bits.tif"}
WHOLE: dict[str, Callable[[Path], None]] = {
    "cmyk.jpg": writer("CMYK", quality=95),
    "ycbcr.tif": writer("YCbCr", compression="tiff_lzw"),
    "lab.tif": writer("LAB"),
    "16_bits.png": sixteen_bits,
    "16_bits.tif": sixteen_bits,
    "palette.png": palette,
    "transparent_palette.png": transparent_palette,
    "grey.png": writer("L"),
    "grey_alpha.png": writer("LA"),
    "black_and_white.png": writer("1"),
    "alpha.png": writer("RGBA"),
    "progressive.jpg": writer(progressive=True, quality=95),
    "interlaced.webp": writer(lossless=True),
    "animated.gif": animated,
    "animated.webp": lambda path: animated(path, lossless=True),
    "animated.png": animated,
    "rotated.jpg": rotated,
    "damaged_exif.jpg": damaged_exif,
    "png_named.jpg": lambda path: picture().save(path, format="PNG"),
    "jpeg_named.png": lambda path: picture().save(path, format="JPEG", quality=95),
    "unicode \u00e9\u4e2d\U0001f600.png": writer(),
}


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file of any size; no pixels follow."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        code = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", code)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def cut(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        whole = path.with_name(name)
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(whole)
        data = whole.read_bytes()
        whole.unlink()
        path.write_bytes(data[: len(data) * 2 // 3])

    return write


def content(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


BROKEN: dict[str, Callable[[Path], None]] = {
    "cut.jpg": cut("whole.jpg"),
    "cut.png": cut("whole.png"),
    "cut.webp": cut("whole.webp"),
    "cut.tif": cut("whole.tif"),
    "cut.gif": cut("whole.gif"),
    "empty.jpg": lambda path: path.touch(),
    "bomb.png": content(png_header(60_000, 60_000)),
    "no_pixels.png": content(png_header(100, 100)),
    "no_size.png": content(png_header(0, 100)),
    "drawing.jpg": content(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "document.jpg": content(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n%%EOF"),
    "page.png": content(b"<!DOCTYPE html><title>404 Not Found</title>"),
    "archive.png": content(b"PK\x03\x04" + bytes(50)),
    "only_magic.jpg": content(b"\xff\xd8\xff\xe0" + bytes(range(200))),
    "postscript.jpg": content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"),
    "folder.jpg": lambda path: path.mkdir(),
    "absent.jpg": lambda path: None,
}


def made(name: str, folder: Path) -> Path:
    path = folder / name
    {**WHOLE, **BROKEN}[name](path)
    return path


def shows_the_picture(pixels: npt.NDArray[Any], name: str, slack: int = 8) -> None:
    """(H, W, 3), RGB."""
    assert pixels.shape == (HEIGHT, WIDTH, 3) and pixels.dtype == np.uint8
    top, bottom = pixels[5, 20].astype(int), pixels[HEIGHT - 5, 20].astype(int)
    if name in GREY:
        assert np.ptp(top) == np.ptp(bottom) == 0
        assert (top > bottom).all() or name in ("grey.png", "grey_alpha.png", "black_and_white.png")
        return
    assert np.abs(top - TOP).max() <= slack and np.abs(bottom - BOTTOM).max() <= slack


# ------------------------------------------------------------------------------- demo and API


@pytest.mark.parametrize("name", WHOLE)
def test_odd_files_are_read_as_what_they_show(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    assert find_images([str(tmp_path)]).images == [path]
    shows_the_picture(read_image(path), name, slack=25 if name in ("cmyk.jpg", "lab.tif") else 8)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


# ------------------------------------------------------------------- training and evaluation


@pytest.fixture(scope="module")
def cfg() -> CfgNode:
    return build_cfg(
        overrides=["INPUT.MIN_SIZE_TEST", "0", "INPUT.MIN_SIZE_TRAIN", "(0,)",
                   "INPUT.RANDOM_FLIP", "none", "INPUT.FORMAT", "RGB", "MODEL.MASK_ON", "False"]
    )  # fmt: skip


def record(path: Path, width: int = WIDTH, height: int = HEIGHT) -> dict[str, Any]:
    annotation = {"bbox": [0.0, 0.0, 9.0, 9.0], "bbox_mode": 1, "category_id": 0}
    size = {"width": width, "height": height}
    return {"file_name": str(path), "image_id": 1, **size, "annotations": [annotation]}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", sorted(WHOLE))
def test_mapper_reads_odd_files(name: str, train: bool, cfg: CfgNode, tmp_path: Path) -> None:
    mapper = DetectionMapper(cfg, is_train=train)
    sample = map_or_broken(mapper, record(made(name, tmp_path)))
    assert not isinstance(sample, BrokenImage), sample
    pixels = sample["image"].permute(1, 2, 0).numpy()
    shows_the_picture(pixels, name, slack=25 if name in ("cmyk.jpg", "lab.tif") else 8)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_mapper_tells_broken_files(name: str, train: bool, cfg: CfgNode, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    broken = map_or_broken(DetectionMapper(cfg, is_train=train), record(path))
    assert isinstance(broken, BrokenImage)
    assert broken.file == str(path) and broken.reason and "\n" not in broken.reason


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000)])
@pytest.mark.parametrize("way", ["ResizeShortestEdge", "EfficientDetResizeCrop"])
def test_mapper_keeps_a_pixel_of_any_image(
    size: tuple[int, int], way: str, train: bool, tmp_path: Path
) -> None:
    square = "square" if way == "EfficientDetResizeCrop" else "default"
    keys = ["INPUT.CUSTOM_AUG", way, "INPUT.TEST_INPUT_TYPE", square, "MODEL.MASK_ON", "False"]
    picture(*size).save(tmp_path / "x.png")
    mapper = DetectionMapper(build_cfg(overrides=keys), is_train=train)
    sample = map_or_broken(mapper, record(tmp_path / "x.png", *size))
    assert not isinstance(sample, BrokenImage), sample
    assert min(sample["image"].shape) >= 1


def test_an_image_of_another_size_than_annotated_is_broken(cfg: CfgNode, tmp_path: Path) -> None:
    path = made("grey.png", tmp_path)
    broken = map_or_broken(DetectionMapper(cfg, is_train=True), record(path, 99, 7))
    assert isinstance(broken, BrokenImage) and "got (40, 24), expect (99, 7)" in broken.reason


def test_an_epoch_goes_over_all_of_them(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = list(itertools.chain(*itertools.zip_longest(WHOLE, BROKEN)))
    records = [record(made(name, tmp_path)) for name in names if name]
    loader = TrainLoader(
        records,
        DetectionMapper(cfg, is_train=True),
        repeat_factors=torch.ones(len(records)),
        batch_size=2,
        max_broken=-1,
    )
    with caplog.at_level(logging.WARNING):
        batches = list(itertools.islice(loader, len(records)))  # two epochs
    assert all(len(batch) == 2 for batch in batches)
    assert len(loader.broken) == len(BROKEN)
    text = caplog.text
    assert all(text.count(f"{tmp_path / name} cannot be used") == 1 for name in BROKEN)


# ------------------------------------------------------------------------- whole programs

SMALL = """
MODEL:
  META_ARCHITECTURE: CenterNetDetector
  WEIGHTS: ""
  DEVICE: cpu
  MASK_ON: False
  BACKBONE: {NAME: build_p67_resnet_fpn_backbone, FREEZE_AT: 0}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res3, res4, res5]}
  FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 64}
  PROPOSAL_GENERATOR: {NAME: CenterNet}
  CENTERNET: {NUM_CLASSES: 1, NUM_CLS_CONVS: 1, NUM_BOX_CONVS: 1, PRIOR_PROB: 0.4}
INPUT: {MIN_SIZE_TEST: 32, MAX_SIZE_TEST: 64, MIN_SIZE_TRAIN: [32], MAX_SIZE_TRAIN: 64}
DATASETS: {TRAIN: [bad_images], TEST: [bad_images]}
DATALOADER: {NUM_WORKERS: 0, MAX_BROKEN_IMAGES: -1}
SOLVER: {IMS_PER_BATCH: 4, REFERENCE_IMS_PER_BATCH: 4, BASE_LR: 0.0001, CHECKPOINT_PERIOD: 0}
SEED: 1
"""


NO_FILES = {"absent.jpg", "folder.jpg"}  # not among the images of a folder


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, and the config of a small model beside them."""
    folder = tmp_path_factory.mktemp("model")
    config = folder / "config.yaml"
    config.write_text(SMALL.replace("[bad_images]", "[]"))
    torch.manual_seed(0)
    torch.save(build_model(build_cfg(str(config))).state_dict(), folder / "model.pth")
    return folder / "model.pth"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of the files."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in (*WHOLE, *BROKEN):
        made(name, folder)
    return folder


def test_the_command_draws_the_whole_and_names_the_broken(
    model_file: Path, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = str(model_file.with_name("config.yaml"))
    options = ["--model", config, "--weights", str(model_file), "--device", "cpu"]
    status = main(["predict", str(corpus), "--output", str(tmp_path), *options])
    said = capfd.readouterr().err
    assert status == 1
    assert "Traceback" not in said
    for name in set(BROKEN) - NO_FILES:
        assert said.count(f"{corpus / name}: ") == 1, name
    drawn = {path.name for path in tmp_path.iterdir() if not path.name.startswith("detections")}
    expected = {f"{name}.png" if name.endswith(".gif") else name for name in WHOLE}
    assert drawn - {"results.json"} == expected


def test_the_interface_gives_the_whole_and_names_the_broken(
    model_file: Path, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    detector = Detector(model_file, device="cpu", score_thresh=0.0)
    found = detector(corpus, skip_broken=True)
    assert sorted(f.path.name for f in found if f.path is not None) == sorted(WHOLE)
    for name in BROKEN:
        assert caplog.text.count(f"{corpus / name}: ") == (name not in NO_FILES), name
        with pytest.raises(UserError, match=name):
            detector(corpus / name)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (2, 3)])
def test_the_interface_takes_images_of_any_size(size: tuple[int, int], model_file: Path) -> None:
    detector = Detector(model_file, device="cpu", score_thresh=0.0)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for (found,) in (detector(pixels), detector(Image.fromarray(pixels))):
        assert found.image_size == size
        assert np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [size[1], size[0]] * 2).all()


@pytest.mark.slow
def test_a_training_with_evaluations_goes_over_all_of_them(corpus: Path, tmp_path: Path) -> None:
    names = [n for pair in itertools.zip_longest(WHOLE, BROKEN) for n in pair if n]
    size = {"width": WIDTH, "height": HEIGHT}
    box = {"category_id": 1, "bbox": [2, 2, 20, 12], "area": 240, "iscrowd": 0}
    content = {
        "images": [{"id": i, "file_name": name, **size} for i, name in enumerate(names)],
        "annotations": [{"id": i + 1, "image_id": i, **box} for i in range(len(names))],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    (tmp_path / "config.yaml").write_text(SMALL)
    register_coco_format("bad_images", str(tmp_path / "data.json"), str(corpus))
    output = tmp_path / "out"
    steps = str(len(names) // 4 + 1)
    options = ["OUTPUT_DIR", str(output), "SOLVER.MAX_ITER", steps, "SOLVER.STEPS", "()"]
    try:
        arguments = ["--config-file", str(tmp_path / "config.yaml"), "--num-gpus", "0", *options]
        Trainer(setup(argument_parser().parse_args(arguments))).train()
    finally:
        DatasetCatalog.remove("bad_images")
        MetadataCatalog.remove("bad_images")
    log = (output / "log.txt").read_text()
    # Once by the training, once by the evaluation
    for name in BROKEN:
        told = [line for line in log.splitlines() if f"{corpus / name} cannot be used: " in line]
        assert len(told) == 2, name
    assert log.count(f"Images that could not be used: {len(BROKEN)} (") == 2
    assert (output / "model_final.pth").is_file()
