from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from PIL import Image

import centernet2
from centernet2 import Detections, Detector
from centernet2.engine import evaluate_checkpoint
from centernet2.engine.defaults import build_cfg
from centernet2.errors import UserError
from centernet2.inference.predictor import Predictor
from centernet2.inference.zoo import shipped_model


@pytest.fixture(scope="module")
def detector(model_file: Path) -> Detector:
    return Detector(model_file, device="cpu", score_thresh=0.0)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def same(first: Detections, second: Detections) -> bool:
    names = ("boxes", "scores", "labels", "masks")
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names)


def test_detections_are_the_predictors(detector: Detector, noise: np.ndarray) -> None:
    (found,) = detector(noise)
    (expected,) = detector.predictor([noise[:, :, ::-1]])
    assert isinstance(found, Detections)
    assert len(found) > 0
    np.testing.assert_array_equal(found.boxes, expected.pred_boxes.tensor)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.masks, expected.pred_masks)
    assert found.class_names == ("person", "bicycle", "traffic light")
    assert found.category_ids == (1, 2, 10)
    assert found.image_size == (90, 120)


def test_an_image_is_the_same_in_every_form(
    detector: Detector, noise: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "noise.png"
    Image.fromarray(noise).save(path)
    tensor = torch.from_numpy(noise).permute(2, 0, 1)
    forms = [path, str(path), Image.open(path), noise, tensor, tensor.float() / 255]
    first, *others = detector(forms)
    assert len(others) == 5
    assert all(same(first, other) for other in others)
    (bgr,) = detector(cv2.imread(str(path)), channel_order="BGR")
    assert same(first, bgr)
    (wrong,) = detector(cv2.imread(str(path)))
    assert not same(first, wrong)


def test_a_folder_gives_its_images_sorted_by_name(
    detector: Detector, noise: np.ndarray, tmp_path: Path
) -> None:
    for name, size in (("b.png", 40), ("a.png", 90), ("c.png", 64)):
        Image.fromarray(noise[:size]).save(tmp_path / name)
    found = detector(tmp_path)
    assert [f.path.name for f in found] == ["a.png", "b.png", "c.png"]
    assert [f.image_size[0] for f in found] == [90, 40, 64]
    assert [f.path.name for f in detector(str(tmp_path / "[ab].png"))] == ["a.png", "b.png"]


def test_stream_takes_a_batch_at_a_time(model_file: Path, noise: np.ndarray) -> None:
    detector = Detector(model_file, device="cpu", score_thresh=0.0, batch_size=2)
    taken = []

    def camera() -> Iterator[np.ndarray]:
        for number in range(1000):
            taken.append(number)
            yield np.roll(noise, number, axis=1)

    stream = detector.stream(camera())
    assert taken == []
    first, second, third = next(stream), next(stream), next(stream)
    assert taken == [0, 1, 2, 3]
    assert not same(first, second)
    (alone,) = detector([np.roll(noise, 2, axis=1)])
    np.testing.assert_allclose(third.scores, alone.scores, rtol=1e-4)


def test_model_comes_from_a_run_folder_or_a_configuration(
    model_file: Path, detector: Detector, noise: np.ndarray, tmp_path: Path
) -> None:
    (expected,) = detector(noise)
    (tmp_path / "config.yaml").write_text(model_file.read_text())
    weights = tmp_path / "model_final.pth"
    weights.write_bytes((model_file.parent / "model.pth").read_bytes())
    cfg = build_cfg(str(model_file), ["MODEL.WEIGHTS", ""])
    cfg.freeze()
    for arguments in ((tmp_path,), (str(weights),), (cfg, weights), (model_file, weights)):
        (found,) = Detector(*arguments, score_thresh=0.0)(noise)
        assert same(found, expected)


def test_options_reach_the_model(model_file: Path, noise: np.ndarray) -> None:
    opts = ["TEST.DETECTIONS_PER_IMAGE", "2"]
    (found,) = Detector(model_file, score_thresh=0.0, opts=opts)(noise)
    assert len(found) == 2
    as_configured = Detector(model_file, score_thresh=None)
    (expected,) = Predictor(build_cfg(str(model_file)))([noise[:, :, ::-1]])
    assert len(as_configured(noise)[0]) == len(expected)


@pytest.mark.parametrize("form", ["path", "configuration"])
def test_options_may_name_the_weights(model_file: Path, tmp_path: Path, form: str) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes((model_file.parent / "model.pth").read_bytes())
    model = model_file if form == "path" else build_cfg(str(model_file))
    for opts in ([f"MODEL.WEIGHTS={other}"], ["VIS_PERIOD=0", "MODEL.WEIGHTS", str(other)]):
        detector = Detector(model, weights=tmp_path / "absent.pth", opts=opts)
        assert str(other) == detector.predictor.cfg.MODEL.WEIGHTS


def test_configurations_and_their_options_are_checked(model_file: Path) -> None:
    with pytest.raises(UserError, match="lacks CenterNet2's keys"):
        Detector(get_cfg())
    with pytest.raises(UserError, match="MODEL.NONE"):
        Detector(build_cfg(str(model_file)), opts=["MODEL.NONE", "1"])


def test_usual_model_is_the_shipped_one() -> None:
    assert Detector().class_names == ["person"]


def test_a_configuration_without_weights_is_not_printed_whole() -> None:
    with pytest.raises(UserError, match="^the configuration given names no weights: say which"):
        Detector(build_cfg(overrides=["MODEL.WEIGHTS", ""]))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": "cats"}, "no model 'cats'"),
        ({"model": "absent.yaml"}, r"absent\.yaml"),
        ({"weights": "absent.pth"}, r"absent\.pth"),
        ({"device": "tpu9"}, "no device 'tpu9'"),
        ({"device": "cuda"}, "PyTorch finds no GPU"),
        ({"device": "cuda:3"}, "PyTorch finds no GPU"),
        ({"score_thresh": 30}, "score threshold of 30 is not between 0 and 1"),
        ({"batch_size": 0}, "batch size of 0"),
        ({"opts": ["MODEL.NO", "1"]}, r"MODEL\.NO"),
        ({"opts": ["MODEL.WEIGHTS", ""]}, "names no weights"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: dict[str, object], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=sentence):
        Detector(**arguments)


def test_wrong_channel_order_is_told_at_once(detector: Detector, noise: np.ndarray) -> None:
    with pytest.raises(UserError, match="no channel order 'bgr'"):
        detector.stream(noise, channel_order="bgr")


def test_interface_is_imported_when_first_used() -> None:
    code = (
        "import sys, centernet2; print('centernet2.inference' in sys.modules, centernet2.Detector)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False <class 'centernet2.inference.detector.Detector'>\n"
    with pytest.raises(AttributeError, match="no attribute 'Detecter'"):
        centernet2.Detecter  # noqa: B018


@pytest.mark.slow
def test_numbers_are_those_of_the_evaluation(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "penn_fudan"
    data = json.loads((folder / "val.json").read_text())
    data["images"] = data["images"][:4]
    kept = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    (tmp_path / "val.json").write_text(json.dumps(data))
    config, weights = shipped_model("pedestrian")
    custom = ["VAL_JSON", str(tmp_path / "val.json"), "VAL_IMAGES", str(folder / "images")]
    custom[::2] = [f"DATASETS.CUSTOM.{key}" for key in custom[::2]]
    options = ["MODEL.WEIGHTS", str(weights), "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
    options += [*custom, "DATASETS.TEST", "('custom_val',)", "OUTPUT_DIR", str(tmp_path)]
    evaluate_checkpoint(build_cfg(str(config), options))
    written = tmp_path / "inference" / "custom_val" / "coco_instances_results.json"
    expected = json.loads(written.read_text())

    detector = Detector("pedestrian", device="cpu", score_thresh=None, batch_size=1)
    files = [folder / "images" / image["file_name"] for image in data["images"]]
    entries = []
    for found, image in zip(detector(files), data["images"]):
        entries += found.to_coco(image["id"])
    key = lambda e: (e["image_id"], -e["score"], e["bbox"])  # noqa: E731
    assert len(entries) == len(expected) > 4
    for ours, theirs in zip(sorted(entries, key=key), sorted(expected, key=key)):
        assert {k: theirs[k] for k in ours} == ours
