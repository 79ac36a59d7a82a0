from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.data.datasets import register_custom
from centernet2.engine import build_cfg
from centernet2.errors import UserError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    build_cfg()


def overrides(folder: Path) -> list[str]:
    return ["DATASETS.CUSTOM.TRAIN_JSON", str(folder / "a.json"),
            "DATASETS.CUSTOM.TRAIN_IMAGES", str(folder)]  # fmt: skip


def test_nothing_is_registered_without_keys() -> None:
    build_cfg()
    assert "custom_train" not in DatasetCatalog
    assert "custom_val" not in DatasetCatalog


def test_names_are_known_without_the_files(tmp_path: Path) -> None:
    build_cfg(overrides=[*overrides(tmp_path), "DATASETS.CUSTOM.CLASSES", "['owl','crow']",
                         "DATASETS.CUSTOM.CLASS_IDS", "[3, 7]"])  # fmt: skip
    metadata = MetadataCatalog.get("custom_train")
    assert metadata.thing_classes == ["owl", "crow"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}
    assert "custom_val" not in DatasetCatalog


def test_a_second_config_leaves_the_first_ones_metadata(tmp_path: Path) -> None:
    build_cfg(overrides=[*overrides(tmp_path), "DATASETS.CUSTOM.CLASSES", "['owl']"])
    first = MetadataCatalog.get("custom_train")
    cfg = build_cfg(overrides=[*overrides(tmp_path), "DATASETS.CUSTOM.CLASSES", "['crow']"])
    assert MetadataCatalog.get("custom_train").thing_classes == ["crow"]
    assert first.thing_classes == ["owl"]
    register_custom(cfg)
    assert MetadataCatalog.get("custom_train").thing_classes == ["crow"]


def test_missing_files_are_named_when_the_set_is_used(tmp_path: Path) -> None:
    build_cfg(overrides=overrides(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"There is no annotation file .*gone/a\.json; give") as e:
        DatasetCatalog.get("custom_train")
    assert "DETECTRON2_DATASETS" not in str(e.value)
    (tmp_path / "a.json").touch()
    build_cfg(overrides=[*overrides(tmp_path)[:3], str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match=r"There is no image folder .*nowhere for .*a\.json"):
        DatasetCatalog.get("custom_train")
