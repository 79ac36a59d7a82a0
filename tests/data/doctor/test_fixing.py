"""The cleaned copy passes the doctor, cleaning it again changes nothing, nothing crashes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from centernet2.data.doctor import KINDS, check_dataset
from centernet2.data.doctor.check import check_annotations
from centernet2.data.doctor.fixing import DROPS, REPAIRS, cleaned, write_cleaned
from centernet2.errors import UserError

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.integers()
    | st.floats()
    | st.sampled_from([0, 1, 2**53, 10**400, "1", "7", "", "a.jpg", "../b", "r", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=8,
)
NUMBERS = st.lists(st.floats(-5, 50) | st.integers(-5, 50), max_size=9)
RLE = st.fixed_dictionaries(
    {
        "size": st.just([4, 5]) | ODD,
        "counts": st.text(max_size=9) | st.lists(st.integers(-1, 20)) | ODD,
    }
)


def entry(fields: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={k: v | ODD for k, v in fields.items()}) | ODD


SMALL = st.integers(0, 3)
COCO = st.fixed_dictionaries(
    {
        "images": st.lists(
            entry(
                {
                    "id": SMALL,
                    "file_name": st.just("a.jpg"),
                    "width": st.just(5),
                    "height": st.just(4),
                    "neg_category_ids": st.lists(SMALL, max_size=3),
                }
            ),
            max_size=4,
        ),
        "annotations": st.lists(
            entry(
                {
                    "id": SMALL,
                    "image_id": SMALL,
                    "category_id": SMALL,
                    "bbox": st.lists(st.integers(0, 5), min_size=4, max_size=4),
                    "area": st.integers(0, 9),
                    "iscrowd": st.just(0),
                    "segmentation": st.lists(NUMBERS, max_size=3) | RLE,
                    "keypoints": NUMBERS,
                }
            ),
            max_size=5,
        ),
        "categories": st.lists(
            entry(
                {
                    "id": SMALL,
                    "name": st.just("x"),
                    "keypoints": st.just(["nose", "tail"]),
                    "skeleton": st.just([[1, 2]]),
                    "frequency": st.just("r"),
                }
            ),
            max_size=4,
        ),
    }
)


def kinds(data: Any) -> set[str]:
    return {finding.kind for finding in check_annotations("f.json", data)[1]}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(COCO | ODD)
def test_any_json_is_checked_and_cleaned(data: Any) -> None:
    dataset, _ = check_annotations("f.json", data)
    if dataset is None:
        return
    before = repr(data)
    once = cleaned("f.json", data)
    assert repr(data) == before
    assert not kinds(once) & (DROPS | REPAIRS.keys())
    assert not [k for k in kinds(once) if KINDS[k].severity == "error"]
    assert repr(cleaned("f.json", once)) == repr(once)


def test_every_kind_with_a_fix_has_one() -> None:
    assert {name for name, kind in KINDS.items() if kind.fix} == DROPS | REPAIRS.keys()


def test_a_real_file_with_mistakes(shared_data: Path, tmp_path: Path) -> None:
    clean = json.loads((shared_data / "bccd" / "val.json").read_text())
    data = copy.deepcopy(clean)
    data["images"][0]["id"] = str(data["images"][0]["id"])  # its annotations must survive
    data["annotations"][50]["bbox"][0] = -2.5
    data["annotations"][60]["bbox"] = [1, 1, 0, 0]
    data["annotations"][70]["id"] = data["annotations"][71]["id"]
    source = tmp_path / "in" / "val.json"
    source.parent.mkdir()
    text = json.dumps(data)
    source.write_text(text)
    (target,) = write_cleaned(check_dataset(source), [source], tmp_path / "out")
    assert source.read_text() == text
    assert check_dataset(target).findings == []
    result = json.loads(target.read_text())
    assert len(result["annotations"]) == len(clean["annotations"]) - 1
    assert result["images"] == clean["images"]
    assert result["annotations"][50]["bbox"][0] == 0


def test_a_clean_file_stays_as_it_is(shared_data: Path) -> None:
    for name in ("bccd/val.json", "coco_mini/annotations/lvis_style_val.json"):
        data = json.loads((shared_data / name).read_text())
        assert cleaned(name, data) == data


def test_images_that_cannot_be_used_go(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "bccd" / "val.json"
    (tmp_path / "images").mkdir()
    report = check_dataset(source, tmp_path / "images")
    assert report.counts() == {"image-missing": 73}
    (target,) = write_cleaned(report, [source], tmp_path / "out")
    assert json.loads(target.read_text())["annotations"] == []


def test_the_input_is_never_written_over(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "val.json"
    source.write_text((shared_data / "bccd" / "val.json").read_text())
    with pytest.raises(UserError, match="another folder"):
        write_cleaned(check_dataset(source), [source], tmp_path)
