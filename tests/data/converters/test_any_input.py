"""Whatever a file holds: a data set that training takes, or one sentence."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from centernet2.data.converters import convert_labelme, convert_voc, convert_yolo
from centernet2.data.converters.recognise import recognise
from centernet2.data.datasets.coco_summary import summarize_coco
from centernet2.errors import UserError

ANY = settings(max_examples=60, deadline=None)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a.png", "../a.png", "/", "0", "train", "\0", "owl"])
)
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=12,
)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Image.new("1", (8, 8)).save(Path(name, "a.png"))
        yield Path(name)


def check(root: Path, convert: Callable[..., dict[str, Any]]) -> None:
    try:
        recognise(root)
        data = convert(root, "train")
    except UserError:
        return
    for annotation in data["annotations"]:
        assert all(map(math.isfinite, annotation["bbox"]))
        assert min(annotation["bbox"][2:]) >= 0
    path = root / "converted.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    if data["categories"]:
        summarize_coco(str(path), str(root), evaluated=True)


SHAPES = st.fixed_dictionaries(
    {
        "label": st.just("owl") | VALUES,
        "points": st.lists(st.lists(st.floats() | st.integers(-20, 20), min_size=2, max_size=2))
        | VALUES,
    },
    optional={
        "shape_type": st.sampled_from(["polygon", "rectangle", "circle", "mask", "line"]) | VALUES,
        "group_id": st.integers(0, 1) | VALUES,
        "mask": VALUES,
    },
)


@ANY
@given(
    st.fixed_dictionaries(
        {"shapes": st.lists(SHAPES | VALUES, max_size=4), "imagePath": st.just("a.png") | VALUES},
        optional={"imageData": VALUES, "imageHeight": VALUES, "imageWidth": VALUES},
    )
)
def test_labelme(value: Any) -> None:
    with folder() as root:
        (root / "a.json").write_text(json.dumps(value), encoding="utf-8")
        check(root, convert_labelme)


ROWS = st.lists(
    st.lists(
        st.sampled_from(["0", "1", "0.5", "0.25", "1e-300", "nan", "x", "-1"]), max_size=9
    ).map(" ".join)
    | st.text(max_size=9),
    max_size=4,
).map("\n".join)


@ANY
@given(ROWS | st.binary(max_size=20), VALUES | st.just(["owl"]), VALUES | st.just("."), VALUES)
@example("0 0.5 0.5 0 0", ["owl"], ".", None)
@example("", ["owl"], "\0", None)
@example("", ["owl"], "list.txt", None)
@example("", ["owl"], ".", "\0")
def test_yolo(rows: str | bytes, names: Any, train: Any, path: Any) -> None:
    with folder() as root:
        content = rows.encode("utf-8", "surrogatepass") if isinstance(rows, str) else rows
        (root / "a.txt").write_bytes(content)
        (root / "list.txt").write_bytes(b"\0\n")
        description = {"names": names, "train": train, "path": path}
        (root / "data.yaml").write_text(json.dumps(description), encoding="utf-8")
        check(root, convert_yolo)


TAGS = ("annotation", "object", "bndbox", "size", "name", "filename", "width", "xmin", "difficult")
NODES = st.recursive(
    st.sampled_from(["", "a.png", "owl", "1", "-7", "1e999", "x", "1.5", " "])
    | st.text("a<&]", max_size=3),
    lambda inner: st.tuples(st.sampled_from(TAGS), st.lists(inner, max_size=4)).map(
        lambda node: f"<{node[0]}>{''.join(node[1])}</{node[0]}>"
    ),
    max_leaves=20,
)
CORNERS = st.lists(st.integers(-9, 20) | st.floats(), min_size=4, max_size=4)


@ANY
@given(NODES, st.lists(CORNERS, max_size=3), st.binary(max_size=12))
def test_pascal_voc(extra: str, boxes: list[Any], listing: bytes) -> None:
    objects = "".join(
        "<object><name>owl</name><bndbox>"
        + "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
        + "</bndbox></object>"
        for box in boxes
    )
    with folder() as root:
        text = f"<annotation><filename>a.png</filename>{objects}{extra}</annotation>"
        (root / "a.xml").write_text(text, encoding="utf-8")
        check(root, convert_voc)
        (root / "ImageSets" / "Main").mkdir(parents=True)
        (root / "ImageSets" / "Main" / "train.txt").write_bytes(listing)
        check(root, convert_voc)


@pytest.mark.parametrize("name", ["a.json", "a.xml", "data.yaml"])
@ANY
@given(content=st.binary(max_size=40))
def test_bytes(name: str, content: bytes) -> None:
    with folder() as root:
        (root / name).write_bytes(content)
        check(root, lambda path, split: recognise(path).convert(split, path / "new"))
