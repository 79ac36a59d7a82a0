"""Write a glyph data set to disk, all of it or nothing.

A data set is a folder ``<root>/<name>`` of ``train/`` and ``val/`` images, of
``annotations/{train,val}.json``, and of ``glyphs.json`` with the settings. It is written under a
temporary name and moved to its place when complete, so a folder of that name is a whole one.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from iopath.common.file_io import file_lock
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from centernet2.data.glyphs.catalog import categories
from centernet2.data.glyphs.formats import (
    ImageRecord,
    class_image_count,
    coco_file,
    label_scene,
    lvis_file,
)
from centernet2.data.glyphs.plan import ImagePlan, plan_split
from centernet2.data.glyphs.render import Scene, render_scene
from centernet2.data.glyphs.variants import SPLITS, GlyphConfig
from centernet2.errors import UserError

__all__ = ["CLASS_IMAGE_COUNT_FILE", "ensure_written", "render_image"]

logger = logging.getLogger(__name__)

CLASS_IMAGE_COUNT_FILE = "annotations/class_image_count.json"
_SETTINGS_FILE = "glyphs.json"
_FORMAT = 1  # raised when equal settings come to mean other images or labels
_MAX_WORKERS = 8
_PARALLEL_FROM = 1500  # images; fewer are rendered before worker processes would be up


def ensure_written(config: GlyphConfig, root: str | Path, num_workers: int | None = None) -> Path:
    """Write a data set unless it is there already; one process writes while others wait.

    Args:
        config: what to write.
        root: folder to write ``<root>/<config.name>`` into.
        num_workers: processes that render; 0 renders in this one; by default as many as there
            are cores, up to 8, for a large data set. The result does not depend on it.

    Returns:
        The folder of the data set.

    Raises:
        UserError: the folder exists with other settings or is no glyph data set, or there is no
            permission to write it.
    """
    target = Path(root) / config.name
    if not target.is_dir():
        try:
            with file_lock(str(target.with_name(f".{target.name}"))):
                if not target.is_dir():
                    _write(config, target, num_workers)
        except PermissionError as error:
            raise UserError(
                f"cannot write the data set {config.name} to {root}: no permission; set "
                "DETECTRON2_DATASETS to a folder that can be written"
            ) from error
    _check_settings(config, target)
    return target


def render_image(config: GlyphConfig, split: str, index: int, plan: ImagePlan) -> Scene:
    """Render one image of a split; it depends on the settings and these arguments alone."""
    rng = np.random.default_rng([config.seed, SPLITS.index(split), index])
    catalogue = categories(config.num_categories)
    characters = [catalogue[planned.category].character for planned in plan.objects]
    return render_scene(rng, characters, config.image_size, config.object_size)


class _Images(Dataset):
    """Images of a split; reading one renders it, saves it, and gives its labels."""

    def __init__(self, config: GlyphConfig, split: str, folder: Path) -> None:
        self.config, self.split, self.folder = config, split, folder
        self.plans = plan_split(config, split)

    def __len__(self) -> int:
        return len(self.plans)

    def __getitem__(self, index: int) -> ImageRecord:
        plan = self.plans[index]
        scene = render_image(self.config, self.split, index, plan)
        name = f"{index + 1:06d}.jpg"
        # Full chroma resolution: coloured edges are what a detector is to find.
        Image.fromarray(scene.image).save(self.folder / name, quality=92, subsampling=0)
        return label_scene(name, scene.image.shape, plan, scene.masks)


def _write(config: GlyphConfig, target: Path, num_workers: int | None) -> None:
    total = config.num_train + config.num_val
    if num_workers is None:
        num_workers = min(os.cpu_count() or 1, _MAX_WORKERS) if total >= _PARALLEL_FROM else 0
    logger.info(f"Writing the data set {config.name} ({total:,} images) to {target} ...")
    start = time.perf_counter()
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed run left behind
    (partial / "annotations").mkdir(parents=True)
    try:
        records = {
            split: _render_split(config, split, partial / split, num_workers) for split in SPLITS
        }
        _write_annotations(config, records, partial)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    logger.info(f"Wrote {config.name} in {time.perf_counter() - start:.0f} s")


def _render_split(
    config: GlyphConfig, split: str, folder: Path, num_workers: int
) -> list[ImageRecord]:
    folder.mkdir()
    # A loader of its own generator leaves the global state of torch's random numbers alone.
    loader = DataLoader(
        _Images(config, split, folder),
        batch_size=None,
        num_workers=num_workers,
        generator=torch.Generator(),
    )
    # `disable=None`: no bar where the output is not a terminal.
    return list(tqdm(loader, desc=f"{config.name} {split}", unit="image", disable=None))


def _write_annotations(
    config: GlyphConfig, records: dict[str, list[ImageRecord]], folder: Path
) -> None:
    first_image_id = 1
    for split in SPLITS:
        if config.style == "lvis":
            content = lvis_file(config, split, records[split], first_image_id, records["train"])
        else:
            content = coco_file(config, records[split], first_image_id)
        _write_json(folder / "annotations" / f"{split}.json", content)
        first_image_id += len(records[split])
    _write_json(folder / CLASS_IMAGE_COUNT_FILE, class_image_count(config, records["train"]))
    _write_json(folder / _SETTINGS_FILE, _settings(config))


def _check_settings(config: GlyphConfig, target: Path) -> None:
    path = target / _SETTINGS_FILE
    if not path.is_file():
        raise UserError(f"{target} is not a glyph data set ({path.name} is missing): move it away")
    found, wanted = json.loads(path.read_text(encoding="utf-8")), _settings(config)
    if found != wanted:
        keys = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise UserError(
            f"{target} holds a data set of other settings ({keys[0]} is {found.get(keys[0])}, not "
            f"{wanted.get(keys[0])}): delete the folder to have it written anew, or choose "
            "another name"
        )


def _settings(config: GlyphConfig) -> dict[str, object]:
    return {**config.to_dict(), "format": _FORMAT}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
