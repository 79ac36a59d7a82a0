from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.engine import Trainer, argument_parser, build_cfg, evaluate_checkpoint, setup
from centernet2.engine.custom_data import data_overrides, prepare_custom_data
from centernet2.errors import UserError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    build_cfg()


@pytest.fixture
def files(tiny_folder: Path, tmp_path: Path) -> list[str]:
    """Annotations and image folder, with category ids 3 and 8."""
    data = json.loads((tiny_folder / "annotations.json").read_text())
    data["categories"] = [{"id": 8, "name": "disc"}, {"id": 3, "name": "box"}]
    for annotation in data["annotations"]:
        annotation["category_id"] = {1: 3, 2: 8}[annotation["category_id"]]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(data))
    return [str(path), str(tiny_folder)]


def changed(files: list[str], name: str, change: Any) -> list[str]:
    """A copy of the annotations with a change."""
    data = json.loads(Path(files[0]).read_text())
    change(data)
    path = Path(files[0]).with_name(name)
    path.write_text(json.dumps(data))
    return [str(path), files[1]]


def prepared(*overrides: str, train: list[str], val: list[str] | None = None) -> CfgNode:
    line = ["--data", *train, *(["--val", *val] if val else []), "MODEL.MASK_ON", "True"]
    args = argument_parser().parse_args([*line, *overrides])
    data, written = data_overrides(args)
    cfg = build_cfg("", [*written, *data])
    prepare_custom_data(cfg)
    return cfg


def with_masks(mask: Any, every: int = 1) -> Any:
    def change(data: Any) -> None:
        for annotation in data["annotations"][::every]:
            annotation["segmentation"] = mask

    return change


POLYGON = [[1, 1, 9, 1, 9, 9]]
RLE = {"size": [48, 64], "counts": "0PPP2"}


def test_classes_and_their_number_come_from_the_file(files: list[str]) -> None:
    cfg = prepared(train=files, val=files)
    assert cfg.DATASETS.CUSTOM.CLASSES == ["box", "disc"]
    assert cfg.DATASETS.CUSTOM.CLASS_IDS == [3, 8]
    assert cfg.DATASETS.TRAIN == ("custom_train",)
    assert cfg.DATASETS.TEST == ("custom_val",)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert cfg.MODEL.RETINANET.NUM_CLASSES == 80  # not this model's
    assert not cfg.MODEL.MASK_ON
    records = DatasetCatalog.get("custom_val")
    assert {a["category_id"] for r in records for a in r["annotations"]} == {0, 1}


def test_overrides_may_follow_the_files(files: list[str]) -> None:
    cfg = prepared("SOLVER.MAX_ITER", "7", train=files)
    assert cfg.SOLVER.MAX_ITER == 7
    args = argument_parser().parse_args(["--data", *files, "A", "1", "--val", *files, "B", "2"])
    assert data_overrides(args)[1] == ["A", "1", "B", "2"]


def test_masks_stay_where_there_are_some(files: list[str]) -> None:
    polygons = changed(files, "p.json", with_masks(POLYGON))
    runs = changed(files, "r.json", with_masks(RLE))
    cfg = prepared(train=polygons, val=files)
    assert cfg.MODEL.MASK_ON
    assert cfg.INPUT.MASK_FORMAT == "polygon"
    cfg = prepared(train=runs)
    assert cfg.MODEL.MASK_ON
    assert cfg.INPUT.MASK_FORMAT == "bitmask"


def test_the_point_head_gets_its_classes(files: list[str]) -> None:
    polygons = changed(files, "p.json", with_masks(POLYGON))
    cfg = prepared("MODEL.ROI_MASK_HEAD.POINT_HEAD_ON", "True", train=polygons)
    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == 2


def test_some_masks_are_refused_unless_they_are_off(files: list[str]) -> None:
    some = changed(files, "s.json", with_masks(POLYGON, every=2))
    with pytest.raises(UserError, match=r"s\.json: 6 of 12 objects have no mask \(the first is "
                                        r"annotation 2\)"):  # fmt: skip
        prepared(train=some)
    assert not prepared("MODEL.MASK_ON", "False", train=some).MODEL.MASK_ON


def rename(data: Any) -> None:
    data["categories"][0]["name"] = "ring"


def renumber(data: Any) -> None:
    data["categories"][0]["id"] = 9
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] != 8]


def drop(data: Any) -> None:
    data["categories"].pop(0)
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] != 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"'ring' \(id 8\) instead of 'disc' \(id 8\)"),
        (renumber, r"'disc' \(id 9\) instead of 'disc' \(id 8\)"),
        (drop, r"nothing instead of 'disc' \(id 8\)"),
    ],
)
def test_other_categories_are_refused(files: list[str], change: Any, message: str) -> None:
    other = changed(files, "o.json", change)
    with pytest.raises(UserError, match=rf"o\.json has other categories .* {message}"):
        prepared(train=files, val=other)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--data", "gone.json", "images"], "There is no annotation file gone.json"),
        (["--val", "gone.json", "images"], "There is no annotation file gone.json"),
        (["--data", "gone.json"], "--data gone.json: the folder of the images is missing"),
    ],
)
def test_options_without_files(line: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        data_overrides(argument_parser().parse_args(line))


def test_a_run_is_evaluated_and_resumed_from_its_saved_config(
    tiny: ModuleType, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    flags = ("--data", "mine.json", files[1], "--val", "mine.json", files[1])
    args = tiny.arguments(out, "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (), flags=flags)
    trainer = Trainer(setup(args))
    trainer.train()

    monkeypatch.chdir("/")  # the saved paths do not depend on the folder
    saved = ["--config-file", str(out / "config.yaml")]
    weights = ["MODEL.WEIGHTS", str(out / "model_final.pth")]
    cfg = setup(argument_parser().parse_args([*saved, "--eval-only", *weights]))
    assert "bbox" in evaluate_checkpoint(cfg)
    metadata = MetadataCatalog.get("custom_val")
    assert metadata.thing_classes == ["box", "disc"]

    cfg = setup(argument_parser().parse_args([*saved, "--resume", "SOLVER.MAX_ITER", "3"]))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2
    trainer.train()

    # Another validation set is measured with the classes of the run, which it must have
    other = changed(files, "o.json", rename)
    args = argument_parser().parse_args([*saved, "--eval-only", "--val", *other, *weights])
    with pytest.raises(UserError, match=r"o\.json has other categories"):
        setup(args)

    Path(files[0]).unlink()
    build_cfg(str(out / "config.yaml"))  # as the demo does
    assert MetadataCatalog.get("custom_train").thing_classes == ["box", "disc"]
    with pytest.raises(UserError, match=r"There is no annotation file .*mine\.json"):
        setup(argument_parser().parse_args([*saved, "--eval-only", *weights]))


def test_a_part_is_kept_for_validation(tiny: ModuleType, files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--data", *files, "--val-fraction", "0.25")
    cfg = setup(tiny.arguments(out, flags=flags))
    assert cfg.DATASETS.TEST == ("custom_val",)
    train, val = (DatasetCatalog.get(name) for name in ("custom_train", "custom_val"))
    assert (len(train), len(val)) == (9, 3)
    assert not {r["file_name"] for r in train} & {r["file_name"] for r in val}

    saved = ["--config-file", str(out / "config.yaml")]
    cfg = setup(argument_parser().parse_args([*saved, "--eval-only"]))
    assert str(out / "custom_val.json") == cfg.DATASETS.CUSTOM.VAL_JSON
    # The whole command again, to continue: the same parts
    before = (out / "custom_val.json").read_text()
    setup(tiny.arguments(out, flags=(*flags, "--resume")))
    assert (out / "custom_val.json").read_text() == before


def test_all_images_for_training(tiny: ModuleType, files: list[str], tmp_path: Path) -> None:
    cfg = setup(tiny.arguments(tmp_path / "out", flags=("--data", *files, "--val-fraction", "0")))
    assert cfg.DATASETS.TEST == ()
    assert len(DatasetCatalog.get("custom_train")) == 12


@pytest.mark.parametrize("fraction", ["1", "-0.1", "nan"])
def test_impossible_fraction(
    tiny: ModuleType, files: list[str], tmp_path: Path, fraction: str
) -> None:
    with pytest.raises(UserError, match="--val-fraction is .* below 1"):
        setup(tiny.arguments(tmp_path, flags=("--data", *files, f"--val-fraction={fraction}")))


def test_one_image_is_not_split(tiny: ModuleType, files: list[str], tmp_path: Path) -> None:
    def keep_one(data: Any) -> None:
        del data["images"][1:], data["annotations"][1:]

    one = changed(files, "one.json", keep_one)
    with pytest.raises(UserError, match=r"one\.json: one image cannot .* --val-fraction 0"):
        setup(tiny.arguments(tmp_path, flags=("--data", *one)))


@pytest.mark.parametrize(
    ("iterations", "told"), [(3, "0.5 times only:"), (12, ""), (1200, ""), (1206, "201 times:")]
)
def test_a_schedule_that_does_not_fit_the_data_is_told(
    files: list[str], monkeypatch: pytest.MonkeyPatch, iterations: int, told: str
) -> None:
    messages: list[str] = []
    monkeypatch.setattr(
        "centernet2.engine.custom_data.logger.warning",
        lambda text, *values: messages.append(text % values),
    )
    prepared("SOLVER.MAX_ITER", str(iterations), "SOLVER.IMS_PER_BATCH", "2", "MODEL.MASK_ON",
             "False", train=files)  # fmt: skip
    assert bool(messages) == bool(told)
    if told:
        assert told in messages[0]
        assert "consider SOLVER.MAX_ITER 144 (24 times)" in messages[0]
