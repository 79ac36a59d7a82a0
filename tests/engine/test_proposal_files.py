"""Proposal files give their boxes, and nothing that they ask for is run."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data.build import load_proposals_into_dataset
from detectron2.structures import BoxMode

from centernet2.engine import Trainer, build_cfg
from centernet2.engine.array_pickle import ForeignObject, load_arrays
from centernet2.engine.proposal_files import add_proposals, proposal_file
from centernet2.engine.test_set import build_test_loader
from centernet2.engine.training_set import load_training_set
from centernet2.errors import UserError


class Harmful:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def records(*ids: Any) -> list[dict[str, Any]]:
    return [{"image_id": i, "file_name": f"{i}.jpg"} for i in ids]


def proposals(number: int = 3) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {
        "ids": list(range(number)),
        "boxes": [draw.uniform(0, 50, (4 + i, 4)).astype(np.float32) for i in range(number)],
        "objectness_logits": [draw.normal(size=4 + i).astype(np.float32) for i in range(number)],
    }


def written(path: Path, content: Any, protocol: int = 2) -> str:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return str(path)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("form", ["new", "Detectron1", "texts", "mode", "arrays"])
def test_boxes_are_those_that_detectron2_reads(form: str, protocol: int, tmp_path: Path) -> None:
    content = proposals()
    if form == "Detectron1":
        content["indexes"] = content.pop("ids")
        content["scores"] = content.pop("objectness_logits")
    elif form == "texts":
        content["ids"] = [str(i) for i in content["ids"]]
    elif form == "mode":
        content["bbox_mode"] = BoxMode.XYWH_ABS
    elif form == "arrays":
        content["ids"] = np.array(content["ids"])
    path = written(tmp_path / "x.pkl", content, protocol)
    ours = records(2, 0)
    theirs = load_proposals_into_dataset(copy.deepcopy(ours), path)
    add_proposals(ours, path)
    for mine, reference in zip(ours, theirs):
        assert mine.keys() == reference.keys()
        assert np.array_equal(mine["proposal_boxes"], reference["proposal_boxes"])
        assert mine["proposal_bbox_mode"] is reference["proposal_bbox_mode"]
        logits = "proposal_objectness_logits"
        assert np.array_equal(mine[logits], reference[logits])


@pytest.mark.parametrize("place", ["ids", "boxes", "objectness_logits", "bbox_mode", "other"])
def test_code_is_refused_and_not_run(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "x.pkl", {**proposals(), place: Harmful()})
    with pytest.raises(UserError, match=r"x\.pkl: refused, .* \(it refers to posix\.system\)"):
        add_proposals(records(1), path)
    assert not Path("pwned").exists()


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in proposals().items() if k != key}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1], r"x\.pkl holds a list instead of proposals"),
        (without("ids"), "holds no lists 'ids', 'boxes' and 'objectness_logits'"),
        ({**proposals(), "boxes": 5}, "holds no lists"),
        ({**proposals(), "ids": [1]}, "its lists have 1, 3, 3 entries"),
        ({**proposals(), "bbox_mode": 77}, "bbox_mode 77 is unknown"),
        ({**proposals(), "ids": [4, 5, 6]}, r"no proposals for image 1 \(1\.jpg\)"),
        ({**proposals(), "boxes": [np.zeros((5, 3))] * 3}, "the proposals of image 1 are not boxe"),
        ({**proposals(), "boxes": ["a"] * 3}, "the proposals of image 1 are not boxes"),
        ({**proposals(), "boxes": [np.zeros((2, 4))] * 3}, "image 1 has 2 boxes and 5 scores"),
    ],
)
def test_wrong_content_is_one_sentence(content: Any, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.pkl", content)
    with pytest.raises(UserError, match=said) as error:
        add_proposals(records(1), path)
    assert "\n" not in str(error.value)


def test_members_of_enumerations_are_read_as_any_python_writes_them(tmp_path: Path) -> None:
    # Early releases of Python 3.11 name them by getattr, others by their value
    by_name = b"cbuiltins\ngetattr\n(cdetectron2.structures.boxes\nBoxMode\nVXYWH_ABS\ntR."
    by_value = b"cdetectron2.structures.boxes\nBoxMode\n(I1\ntR."
    for content in (by_name, by_value):
        loaded = load_arrays(content, {("detectron2.structures.boxes", "BoxMode"): BoxMode})
        assert loaded is BoxMode.XYWH_ABS
    for kind, name in ((b"BoxMode", b"convert"), (b"BoxMode", b"__class__"), (b"BoxMode", b"mro")):
        content = b"cbuiltins\ngetattr\n(cdetectron2.structures.boxes\n%s\nV%s\ntR." % (kind, name)
        with pytest.raises(ForeignObject, match="getattr"):
            load_arrays(content, {("detectron2.structures.boxes", "BoxMode"): BoxMode})


def test_absent_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"proposals .*gone\.pkl cannot be read \(No such file"):
        add_proposals(records(1), str(tmp_path / "gone.pkl"))
    whole = pickle.dumps(proposals())
    for content in (b"", b"no pickle", whole[:-40]):
        (tmp_path / "x.pkl").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.pkl cannot be read as proposals"):
            add_proposals(records(1), str(tmp_path / "x.pkl"))


def test_boxes_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    content = proposals()
    content["boxes"][1][2, 3] = np.nan
    content["objectness_logits"][1][0] = np.inf
    data = records(1)
    add_proposals(data, written(tmp_path / "x.pkl", content))
    assert data[0]["proposal_boxes"].shape == (3, 4)
    assert np.isfinite(data[0]["proposal_boxes"]).all()


@pytest.mark.parametrize("harmful", [False, True])
def test_loaders_of_training_and_evaluation(
    harmful: bool, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    truth = json.loads((tiny_data / "annotations.json").read_text())
    ids = [image["id"] for image in truth["images"]]
    content = {**proposals(len(ids)), "ids": ids, "more": Harmful() if harmful else 1}
    path = written(tmp_path / "x.pkl", content)
    cfg = build_cfg(
        overrides=[
            "DATASETS.TRAIN", "('tiny',)", "DATASETS.TEST", "('tiny',)",
            "MODEL.LOAD_PROPOSALS", "True", "DATALOADER.NUM_WORKERS", "0",
            "DATASETS.PROPOSAL_FILES_TRAIN", f"('{path}',)",
            "DATASETS.PROPOSAL_FILES_TEST", f"('{path}',)",
        ]
    )  # fmt: skip
    if harmful:
        for load in (load_training_set, lambda cfg: Trainer.build_test_loader(cfg, "tiny")):
            with pytest.raises(UserError, match=r"x\.pkl: refused"):
                load(cfg)
        assert not Path("pwned").exists()
        return
    training = load_training_set(cfg).records
    numbers = [len(record["proposal_boxes"]) for record in training]
    assert numbers == [4 + i for i in range(len(ids))]
    for number, (sample,) in enumerate(build_test_loader(cfg, "tiny")):
        assert len(sample["proposals"]) <= 4 + number


def test_a_file_for_each_data_set() -> None:
    cfg = build_cfg(
        overrides=["DATASETS.TEST", "('a', 'b')", "DATASETS.PROPOSAL_FILES_TEST", "('x',)"]
    )
    with pytest.raises(UserError, match=r"DATASETS\.TEST names 2, DATASETS\.PROPOSAL_FILES_TEST 1"):
        proposal_file(cfg, "TEST", "b")
