#!/usr/bin/env python3
"""Time the training mapper against Detectron2's, image by image in turns, on a registered data set.

python tools/benchmark_loader.py coco_mini_train
python tools/benchmark_loader.py penn_fudan_train --cases bitmasks --workers 0 1 2 --json out.json

Both mappers get the same images, augmentations and random numbers, on one thread. "Pixels alone" is
our mapper without annotations: what reading and augmenting take at least.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from torch.utils.data import DataLoader

from centernet2.benchmarks.timing import machine
from centernet2.data.augmentation import build_augmentation
from centernet2.data.mapper import DetectionMapper
from centernet2.engine import build_cfg
from centernet2.engine.training_set import load_training_set
from centernet2.errors import UserError

Mapper = Callable[[dict[str, Any]], dict[str, Any]]

EDGES = ["INPUT.MIN_SIZE_TRAIN", "(640, 672, 704, 736, 768, 800)", "INPUT.MAX_SIZE_TRAIN", "1333"]
CROPS = ["INPUT.CUSTOM_AUG", "EfficientDetResizeCrop", "INPUT.SCALE_RANGE", "(0.1, 2.0)"]
CASES = {
    "boxes": [*EDGES, "MODEL.MASK_ON", "False"],
    "polygons": [*EDGES, "MODEL.MASK_ON", "True"],
    "bitmasks": [*EDGES, "MODEL.MASK_ON", "True", "INPUT.MASK_FORMAT", "bitmask"],
    "crop-640": [*CROPS, "INPUT.TRAIN_SIZE", "640", "MODEL.MASK_ON", "False"],
    "crop-1280": [*CROPS, "INPUT.TRAIN_SIZE", "1280", "MODEL.MASK_ON", "False"],
}
EPOCHS = 3  # over the images in a round of loading processes
OURS, FLOOR, PEER = "CenterNet2", "pixels alone", "Detectron2"


class Seconds(NamedTuple):
    """What a job took."""

    cpu: float
    wall: float


class _PixelsAlone:
    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        return self._mapper({k: v for k, v in record.items() if k != "annotations"})


def contestants(cfg: CfgNode) -> dict[str, Mapper]:
    """The mappers of a config, the peer last, with the same augmentations."""
    options = DatasetMapper.from_config(cfg, is_train=True)
    options["augmentations"] = build_augmentation(cfg, is_train=True)
    ours = DetectionMapper(cfg, is_train=True)
    return {OURS: ours, FLOOR: _PixelsAlone(ours), PEER: DatasetMapper(**options)}


def pixel_difference(
    mappers: dict[str, Mapper], records: list[dict[str, Any]]
) -> tuple[int, float]:
    """Greatest and mean difference of our images from the peer's, of 255."""
    greatest, means = 0, []
    for seed, record in enumerate(records):
        np.random.seed(seed)  # noqa: NPY002 (Detectron2's generator)
        ours = mappers[OURS](record)["image"].int()
        np.random.seed(seed)  # noqa: NPY002
        off = (ours - mappers[PEER](record)["image"].int()).abs()
        greatest = max(greatest, int(off.max()))
        means.append(off.float().mean().item())
    return greatest, statistics.mean(means)


def time_in_process(
    mappers: dict[str, Mapper], records: list[dict[str, Any]], round_number: int
) -> dict[str, Seconds]:
    """Seconds per image over all records; every image goes through each mapper in turn."""
    sums = {name: [0.0, 0.0] for name in mappers}
    for place, record in enumerate(records):
        # The first one finds caches cold: each takes that place as often.
        for name in list(mappers)[:: 1 if (place + round_number) % 2 else -1]:
            np.random.seed(place + 10_000 * round_number)  # noqa: NPY002
            cpu, wall = time.process_time(), time.perf_counter()
            mappers[name](record)
            sums[name][0] += time.process_time() - cpu
            sums[name][1] += time.perf_counter() - wall
    return {name: Seconds(*(s / len(records) for s in both)) for name, both in sums.items()}


class _Mapped(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, records: list[dict[str, Any]], mapper: Mapper, seed: int) -> None:
        self._records, self._mapper, self._seed = records, mapper, seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: int) -> dict[str, Any]:
        np.random.seed(place + self._seed)  # noqa: NPY002
        return self._mapper(self._records[place])


def time_workers(
    mappers: dict[str, Mapper], records: list[dict[str, Any]], round_number: int, workers: int
) -> dict[str, Seconds]:
    """Seconds per image of loading processes, with their start (once for EPOCHS) and transport."""
    taken = {}
    for name in list(mappers)[:: 1 if round_number % 2 else -1]:
        # several times over, or starting the processes would count too much
        data = _Mapped(records * EPOCHS, mappers[name], 10_000 * round_number)
        cpu, wall = _children_cpu() + time.process_time(), time.perf_counter()
        for _ in DataLoader(data, batch_size=None, num_workers=workers):
            pass
        cpu, wall = _children_cpu() + time.process_time() - cpu, time.perf_counter() - wall
        taken[name] = Seconds(cpu / len(data), wall / len(data))
    return taken


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(
    mappers: dict[str, Mapper], records: list[dict[str, Any]], rounds: int, workers: int
) -> dict[str, list[Seconds]]:
    """Seconds per image of each mapper in each round; a first round does not count."""
    times: dict[str, list[Seconds]] = {name: [] for name in mappers}
    for number in range(rounds + 1):
        if workers:
            taken = time_workers(mappers, records, number, workers)
        else:
            taken = time_in_process(mappers, records, number)
        if number:
            for name, seconds in taken.items():
                times[name].append(seconds)
    return times


def summary(times: dict[str, list[Seconds]]) -> dict[str, Any]:
    """Medians per image, and how often faster than the peer in the same round."""
    rows: dict[str, Any] = {}
    for name, taken in times.items():
        row: dict[str, Any] = {"rounds": len(taken)}
        for kind in Seconds._fields:
            own = [getattr(each, kind) for each in taken]
            ratios = [getattr(p, kind) / value for p, value in zip(times[PEER], own)]
            row[f"{kind}_ms"] = 1000 * statistics.median(own)
            row[f"{kind}_ratio"] = statistics.median(ratios)
            row[f"{kind}_ratio_range"] = [min(ratios), max(ratios)]
        rows[name] = row
    return rows


def print_summary(title: str, rows: dict[str, Any]) -> None:
    """A table for people."""
    print(
        f"{title:26} {'CPU ms':>8} {'images/s':>9} {'ratio':>6}  (range)      {'wall ms':>8} ratio"
    )
    for name, row in rows.items():
        low, high = row["cpu_ratio_range"]
        print(
            f"  {name:24} {row['cpu_ms']:8.2f} {1000 / row['cpu_ms']:9.0f} {row['cpu_ratio']:6.2f}"
            f"  ({low:.2f}-{high:.2f})  {row['wall_ms']:8.2f} {row['wall_ratio']:5.2f}"
        )


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, measure, print.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="name of a registered data set, as in DATASETS.TRAIN")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["boxes", "crop-640"])
    parser.add_argument("--workers", nargs="+", type=int, default=[0], metavar="N",
                        help="numbers of loading processes; 0 is this process")  # fmt: skip
    parser.add_argument("--images", type=int, default=80, help="at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    if min(options.images, options.rounds) < 1 or min(options.workers) < 0:
        print("error: --images and --rounds must be at least 1, --workers 0.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    result: dict[str, Any] = {"data": options.data, "cases": {}}
    for case in options.cases:
        cfg = build_cfg(overrides=[*CASES[case], "DATASETS.TRAIN", f"('{options.data}',)"])
        try:
            records = load_training_set(cfg).records[: options.images]
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        mappers = contestants(cfg)
        greatest, mean = pixel_difference(mappers, records)
        figures: dict[str, Any] = {"pixel_difference": {"greatest": greatest, "mean": mean}}
        print(f"{case}: {len(records)} images; pixels differ by {greatest} at most, {mean:.5f} on "
              "average")  # fmt: skip
        for workers in options.workers:
            figures[f"workers_{workers}"] = summary(
                measure(mappers, records, options.rounds, workers)
            )
            print_summary(f"{case}, workers {workers}", figures[f"workers_{workers}"])
        result["cases"][case] = figures
    result["machine"] = machine()
    print(", ".join(f"{key} {value}" for key, value in result["machine"].items()))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
