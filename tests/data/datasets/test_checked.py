"""Annotation files of any content: records that can be used, or one sentence."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.data.datasets.lvis_format import register_lvis_format
from centernet2.data.mapper import DetectionMapper
from centernet2.engine import build_cfg
from centernet2.engine.broken_images import BrokenImage, map_or_broken
from centernet2.engine.training_set import load_training_set
from centernet2.errors import UserError
from centernet2.evaluation import build_evaluator

NAME = "checked"
CFG = build_cfg(
    overrides=["INPUT.MIN_SIZE_TRAIN", "(32,)", "INPUT.MIN_SIZE_TEST", "32",
               "DATASETS.TRAIN", f"('{NAME}',)", "MODEL.MASK_ON", "True",
               "INPUT.MASK_FORMAT", "bitmask"]
)  # fmt: skip


def whole(kind: str) -> dict[str, Any]:
    """Two images, three objects; in COCO's format polygons, compressed and plain run lengths."""
    size = {"width": 12, "height": 10}
    polygons = [[1.0, 2.0, 7.0, 2.0, 7.0, 7.0]]
    masks: list[Any] = [polygons, polygons, polygons]
    if kind == "coco":
        masks[1:] = [{"size": [10, 12], "counts": c} for c in ([12, 5, 103], "<5W3")]
    lvis = {"neg_category_ids": [2], "not_exhaustive_category_ids": []}
    images = [
        {"id": i, "file_name": f"{i}.png", "coco_url": f"http://a/images/{i}.png", **size, **lvis}
        for i in (1, 2)
    ]
    common = {"iscrowd": 0, "area": 30.0, "bbox": [1.0, 2.0, 6.0, 5.0]}
    annotations = [
        {"id": i + 1, "image_id": image, "category_id": label, "segmentation": masks[i], **common}
        for i, (image, label) in enumerate(((1, 1), (1, 2), (2, 2)))
    ]
    counts = {"image_count": 1, "instance_count": 1, "frequency": "r"}
    categories = [
        {"id": i, "name": name, "synonyms": [name], **counts} for i, name in ((1, "a"), (2, "b"))
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two images; data sets are registered and forgotten around each case."""
    root = tmp_path_factory.mktemp("checked")
    (root / "images").mkdir()
    for number in (1, 2):
        for path in (root, root / "images"):
            Image.new("RGB", (12, 10)).save(path / f"{number}.png")
    return root


@contextlib.contextmanager
def registered(kind: str, content: Any, folder: Path) -> Iterator[None]:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "data.json").write_text(text)
    register = register_lvis_format if kind == "lvis" else register_coco_format
    register(NAME, str(folder / "data.json"), str(folder))
    try:
        yield
    finally:
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)


def load(kind: str, content: Any, folder: Path) -> list[dict[str, Any]]:
    with registered(kind, content, folder):
        return list(DatasetCatalog.get(NAME))


def use(kind: str, content: Any, folder: Path, output: Path) -> None:
    """Load, map for training, and evaluate one detection an image."""
    with registered(kind, content, folder), contextlib.redirect_stdout(io.StringIO()):
        for record in load_training_set(CFG).records:
            sample = map_or_broken(DetectionMapper(CFG, is_train=True), record)
            if not isinstance(sample, BrokenImage) and "instances" in sample:
                assert torch.isfinite(sample["instances"].gt_boxes.tensor).all()
        evaluator = build_evaluator(CFG, NAME, str(output))
        evaluator.reset()
        for record in DatasetCatalog.get(NAME):
            found = Instances((10, 12))
            found.pred_boxes = Boxes(torch.tensor([[1.0, 2.0, 7.0, 7.0]]))
            found.scores, found.pred_classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
            evaluator.process([record], [{"instances": found}])
        evaluator.evaluate()


@pytest.mark.parametrize("kind", ["coco", "lvis"])
def test_whole_files_are_used(kind: str, folder: Path, tmp_path: Path) -> None:
    use(kind, whole(kind), folder, tmp_path)
    records = load(kind, whole(kind), folder)
    assert [len(record["annotations"]) for record in records] == [2, 1]


HOSTILE = st.sampled_from(
    [None, True, 0, -1, 2**31, 2**63, 2**70, -(2**70), 0.5, 1e308, -1e308, math.nan, math.inf, "",
     "x", "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "a\0b", "\ud800",
     "\u4e2d\U0001f600", "x" * 5000, "ooooooooooo", [], {}, [[]], [None], [1], [1] * 7,
     [math.nan] * 8, [1e300] * 8,
     [2**70] * 4, ["a"] * 4, [[1, 2, 3]], [[1.0, 2.0, 3.0, 4.0]], [[]],
     [[math.nan] * 6], [[1e30] * 6], {"a": 1},
     {"size": [10, 12], "counts": "o" * 40}, {"size": [10**9, 10**9], "counts": [1]},
     {"size": [10, 12], "counts": [10**6]}, {"size": [10, 12], "counts": [-5, 125]}]
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value."""
    yield path
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in parts:
        yield from places(part, (*path, key))


def changed(content: Any, path: tuple[Any, ...], value: Any, remove: bool) -> Any:
    if not path:
        return value
    result = copy.deepcopy(content)
    node = result
    for key in path[:-1]:
        node = node[key]
    if remove:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return result


PLACES = {kind: list(places(whole(kind))) for kind in ("coco", "lvis")}


@pytest.mark.parametrize("kind", ["coco", "lvis"])
@settings(
    max_examples=100, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_any_change_is_used_or_one_sentence(
    kind: str, data: st.DataObject, folder: Path, tmp_path: Path
) -> None:
    path = data.draw(st.sampled_from(PLACES[kind]))
    content = changed(whole(kind), path, data.draw(HOSTILE), data.draw(st.booleans()))
    said = ""
    try:
        use(kind, content, folder, tmp_path)
    except UserError as error:
        said = str(error)
    assert "\n" not in said and len(said) < 1000 and said.isprintable()


SAID: list[tuple[tuple[Any, ...], Any, str]] = [
    (("images", 0, "file_name"), "\ud800", r"image 1: its file name '\\ud800' is no text"),
    (("images", 0, "file_name"), "a\0b", r"its file name 'a\\x00b' is no text"),
    (("images", 0, "width"), 0, "has the width 0 and the height 10"),
    (("images", 0, "height"), 10**9, "has the width 12 and the height 1000000000"),
    (("images", 0, "id"), 2**70, "image 1180591620717411303424: its id must be a whole number"),
    (("annotations", 0, "bbox"), [1, 2, math.nan, 4], r"number 1 has the bbox \[1, 2, nan, 4\]"),
    (("annotations", 0, "bbox"), [1, 2, 1e30, 4], "object number 1 has the bbox"),
    (("annotations", 0, "bbox"), [1, 2, 3], "instead of 4 numbers"),
    (("annotations", 0, "segmentation"), [[math.nan] * 6], "a polygon that is not a list of num"),
    (("annotations", 0, "bbox"), [-math.inf, 2, math.inf, 4], r"has the bbox \[-inf, 2, inf, 4\]"),
    (("annotations", 1, "segmentation"), {"size": [9, 9], "counts": [81]}, "mask of the size .9,"),
    (("annotations", 1, "segmentation"), {"size": [10, 12], "counts": [999]}, "do not add up"),
    (("annotations", 1, "segmentation"), {"size": [10, 12], "counts": "o" * 40}, "do not add up"),
    (("categories", 0, "name"), "\ud800", r"the class name '\\ud800' is no text"),
    (("annotations", 0, "category_id"), 9, "not in the format of its data set .KeyError"),
    (("annotations",), None, "it has no list 'annotations'"),
]


@pytest.mark.parametrize(("path", "value", "said"), SAID)
def test_mistakes_are_named_when_the_file_is_loaded(
    path: tuple[Any, ...], value: Any, said: str, folder: Path
) -> None:
    content = changed(whole("coco"), path, value, remove=False)
    with pytest.raises(UserError, match=said) as error:
        load("coco", content, folder)
    assert str(error.value).startswith(str(folder / "data.json"))


def test_text_that_is_no_json_is_named(folder: Path) -> None:
    for text in ("", "{", "<html>", "[" * 100_000, '{"images": [' + "9" * 5000 + "]}"):
        with pytest.raises(UserError, match=r"data\.json"):
            load("coco", text, folder)


def test_file_names_that_lead_elsewhere_are_read_as_images_only(folder: Path) -> None:
    for name in ("../../../../../../etc/passwd", "/etc/passwd", "/dev/zero", "../images"):
        content = changed(whole("coco"), ("images", 0, "file_name"), name, remove=False)
        (record, _) = load("coco", content, folder)
        broken = map_or_broken(DetectionMapper(CFG, is_train=True), record)
        assert isinstance(broken, BrokenImage) and name in broken.file


def test_names_of_any_language(folder: Path, tmp_path: Path) -> None:
    content = changed(whole("coco"), ("categories", 0, "name"), "\u4e2d\U0001f600 e\u0301", False)
    use("coco", content, folder, tmp_path)


@pytest.mark.slow
def test_ten_thousand_boxes_on_an_image(folder: Path, tmp_path: Path) -> None:
    content = whole("coco")
    first = content["annotations"][0]
    content["annotations"] = [{**first, "id": i} for i in range(1, 10_001)]
    use("coco", content, folder, tmp_path)
    (record, _) = load("coco", content, folder)
    sample = DetectionMapper(CFG, is_train=True)(record)
    assert len(sample["instances"]) == 10_000
