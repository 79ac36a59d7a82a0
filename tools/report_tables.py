#!/usr/bin/env python3
"""The report in miniature: train the rows of its Tables 1 and 2 small, print them in its layout.

    python tools/report_tables.py glyphs                    # both tables on the long-tailed glyphs
    python tools/report_tables.py bccd --table 1            # Table 1 on blood cells
    python tools/report_tables.py glyphs --table 2 --seeds 1 2 3 --workers 8 --iterations 3000
    python tools/report_tables.py glyphs --only LVIS_CenterNet2_R50_1x --iterations 1200
    python tools/report_tables.py glyphs --print-only       # the rows that are trained so far

Each row is the config of that row, as it is used for COCO and LVIS, with the same overrides for all
rows: a narrow MobileNetV2 from ImageNet weights, small images, a short schedule. A learning rate is
scaled, so that one-stage models keep half of the others', and so are anchors and sizes of interest.
Runs that are finished are not repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
WEIGHTS = REPO / "weights" / "mobilenetv2_imagenet.pth"


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: its names there, and its config."""

    detector: str
    loss: str
    config: str


TABLE_1_COCO = (
    Row("CenterNet-FPN", "", "CenterNet-FPN_R50_1x"),
    Row("CascadeRCNN", "", "report/CascadeRCNN_R50_1x"),
    Row("CascadeRCNN, P2-P6", "", "report/CascadeRCNN_R50_P2-P6_1x"),
    Row("CenterNet2-specific", "", "report/CenterNet2-specific_R50_1x"),
    Row("CenterNet2-agnostic", "", "CenterNet2_R50_1x"),
)
TABLE_1_LVIS = (
    Row("CenterNet-FPN", "", "report/LVIS_CenterNet-FPN_R50_1x"),
    Row("CascadeRCNN", "", "report/LVIS_CascadeRCNN_R50_1x"),
    Row("CascadeRCNN, P2-P6", "", "report/LVIS_CascadeRCNN_R50_P2-P6_1x"),
    Row("CenterNet2-specific", "", "report/LVIS_CenterNet2-specific_R50_1x"),
    Row("CenterNet2-agnostic", "", "LVIS_CenterNet2_R50_1x"),
)
TABLE_2 = (
    Row("CenterNet2-agn.", "Softmax-CE", "LVIS_CenterNet2_R50_1x"),
    Row("CenterNet2-agn.", "Sigmoid-CE", "report/LVIS_CenterNet2_R50_Sigmoid_1x"),
    Row("CenterNet2-agn.", "EQL", "report/LVIS_CenterNet2_R50_EQL_1x"),
    Row("CenterNet2-agn.", "FedLoss", "LVIS_CenterNet2_R50_Fed_1x"),
    Row("CascadeRCNN", "Softmax-CE", "report/LVIS_CascadeRCNN_R50_1x"),
    Row("CascadeRCNN", "Sigmoid-CE", "report/LVIS_CascadeRCNN_R50_Sigmoid_1x"),
    Row("CascadeRCNN", "EQL", "report/LVIS_CascadeRCNN_R50_EQL_1x"),
    Row("CascadeRCNN", "FedLoss", "report/LVIS_CascadeRCNN_R50_Fed_1x"),
)


@dataclasses.dataclass(frozen=True)
class Miniature:
    """A data set, and what every row's config is overridden with for it."""

    tables: dict[int, tuple[Row, ...]]
    metrics: tuple[str, ...]
    num_classes: int
    images_per_step: int
    iterations: int
    scale: float
    """Of anchors and sizes of interest, which fit images of 800 pixels."""
    overrides: tuple[Any, ...]


MINIATURES = {
    "glyphs": Miniature(
        tables={1: TABLE_1_LVIS, 2: TABLE_2},
        metrics=("AP", "APr", "APc", "APf"),
        num_classes=60,
        images_per_step=8,
        iterations=400,
        scale=0.5,
        overrides=(
            "DATASETS.TRAIN", "('glyphs_tail_train',)",
            "DATASETS.TEST", "('glyphs_tail_val',)",
            "INPUT.MIN_SIZE_TRAIN", "(144, 160, 176)",
            "INPUT.MAX_SIZE_TRAIN", "256",
            "INPUT.MIN_SIZE_TEST", "160",
            "INPUT.MAX_SIZE_TEST", "256",
            "INPUT.RANDOM_FLIP", "none",
            # An object in 100 of 100,000 images is in one of these 1,000: LVIS's factors, kept
            "DATALOADER.REPEAT_THRESHOLD", "0.1",
            # Of 60 classes: the report's share of tail classes, and as many drawn as present
            "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES", "25",
            "MODEL.MOBILENETV2.NORM", "BN",
            "MODEL.BACKBONE.FREEZE_AT", "0",
        ),
    ),
    "bccd": Miniature(
        tables={1: TABLE_1_COCO},
        metrics=("AP", "AP50", "AP75", "APs", "APm", "APl"),
        num_classes=3,
        images_per_step=4,
        iterations=300,
        scale=1.0,
        overrides=(
            "DATASETS.TRAIN", "('bccd_train',)",
            "DATASETS.TEST", "('bccd_val',)",
            "INPUT.MIN_SIZE_TRAIN", "(192, 224, 256, 288)",
            "INPUT.MAX_SIZE_TRAIN", "400",
            "INPUT.MIN_SIZE_TEST", "256",
            "INPUT.MAX_SIZE_TEST", "400",
            "MODEL.MOBILENETV2.NORM", "FrozenBN",
            "MODEL.BACKBONE.FREEZE_AT", "2",
        ),
    ),
}  # fmt: skip
EQL_TAIL_SHARE = 900 / 1203


def small_overrides(cfg: Any, miniature: Miniature, iterations: int) -> list[str]:
    """Key-value pairs that turn the config of a row into its miniature.

    Args:
        cfg: the row's config; its backbone's levels, learning rate and sizes are looked at.
        miniature: the data set.
        iterations: length of the schedule; the rate falls at 2/3 and 8/9, as in the report.
    """
    fine = cfg.MODEL.BACKBONE.NAME == "build_resnet_fpn_backbone"
    stages = ["res2", "res3", "res4", "res5"][0 if fine else 1 :]
    scale = miniature.scale
    anchors = [[side * scale for side in level] for level in cfg.MODEL.ANCHOR_GENERATOR.SIZES]
    interest = [[low * scale, high * scale] for low, high in cfg.MODEL.CENTERNET.SOI]
    pairs = {
        "MODEL.WEIGHTS": WEIGHTS,
        "MODEL.BACKBONE.NAME": f"build_{'' if fine else 'p67_'}mobilenetv2_fpn_backbone",
        "MODEL.MOBILENETV2.OUT_FEATURES": stages,
        "MODEL.FPN.IN_FEATURES": stages,
        "MODEL.FPN.OUT_CHANNELS": 64,
        "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
        "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
        "INPUT.FORMAT": "RGB",
        "MODEL.ANCHOR_GENERATOR.SIZES": anchors,
        "MODEL.CENTERNET.SOI": interest,
        "MODEL.CENTERNET.NUM_CLASSES": miniature.num_classes,
        "MODEL.CENTERNET.NUM_CLS_CONVS": 2,
        "MODEL.CENTERNET.NUM_BOX_CONVS": 2,
        "MODEL.ROI_HEADS.NUM_CLASSES": miniature.num_classes,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 64,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 256,
        "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 1,
        "SOLVER.IMS_PER_BATCH": miniature.images_per_step,
        "SOLVER.REFERENCE_IMS_PER_BATCH": miniature.images_per_step,
        "SOLVER.BASE_LR": cfg.SOLVER.BASE_LR * miniature.images_per_step / 8,
        "SOLVER.MAX_ITER": iterations,
        "SOLVER.STEPS": (iterations * 2 // 3, iterations * 8 // 9),
        "SOLVER.WARMUP_ITERS": 50,
        "SOLVER.WARMUP_FACTOR": 0.01,
        "SOLVER.CHECKPOINT_PERIOD": iterations,
        "DATALOADER.NUM_WORKERS": 0,
        "TEST.EVAL_PERIOD": 0,
    }
    if cfg.MODEL.ROI_BOX_HEAD.USE_EQL_LOSS:
        pairs["MODEL.ROI_BOX_HEAD.EQL_NUM_RAREST"] = round(EQL_TAIL_SHARE * miniature.num_classes)
    return [str(x) for pair in pairs.items() for x in pair] + [str(x) for x in miniature.overrides]


def main(arguments: list[str] | None = None) -> int:
    """Train what is missing and print the tables.

    Returns:
        The exit status.
    """
    options = parse(arguments)
    miniature = MINIATURES[options.data]
    iterations = options.iterations or miniature.iterations
    folder = options.output / f"{options.data}_{iterations}"
    tables = {
        number: tuple(r for r in rows if not options.only or Path(r.config).name in options.only)
        for number, rows in sorted(miniature.tables.items())
        if not options.table or number in options.table
    }
    if not options.print_only:
        jobs = [
            (row.config, seed)
            for seed in options.seeds
            for row in {row.config: row for rows in tables.values() for row in rows}.values()
        ]
        if not train_all(jobs, miniature, iterations, folder, options):
            return 1
    for number, rows in tables.items():
        if not rows:
            continue
        print(f"\nTable {number}, {options.data}, {iterations} iterations, mean ± std over seeds\n")
        print(table(rows, miniature.metrics, folder, options.seeds))
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=sorted(MINIATURES))
    parser.add_argument("--table", type=int, nargs="+", choices=(1, 2), help="default: all")
    parser.add_argument("--only", nargs="+", metavar="CONFIG", help="rows of these configs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--iterations", type=int, help="default: what two CPU cores can do")
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each training")
    parser.add_argument("--output", type=Path, default=REPO / "output" / "report_tables")
    parser.add_argument("--print-only", action="store_true", help="train nothing")
    options = parser.parse_args(arguments)
    tables = MINIATURES[options.data].tables
    missing = set(options.table or ()) - set(tables)
    if missing:
        parser.error(f"{options.data} is not long-tailed: there is no Table 2 of it")
    names = {Path(row.config).name for rows in tables.values() for row in rows}
    unknown = sorted(set(options.only or ()) - names)
    if unknown:
        parser.error(f"no row has the config {unknown[0]}: they are {', '.join(sorted(names))}")
    if options.iterations is not None and options.iterations < 10:
        parser.error("--iterations must be at least 10: the rate falls twice")
    return options


def train_all(
    jobs: list[tuple[str, int]],
    miniature: Miniature,
    iterations: int,
    folder: Path,
    options: argparse.Namespace,
) -> bool:
    """Train the jobs that have no result yet, several at a time; whether all have one now."""
    if not WEIGHTS.is_file():
        print(
            f"{WEIGHTS} is missing: run python tools/fetch_mobilenetv2_weights.py", file=sys.stderr
        )
        return False
    from centernet2.engine import build_cfg

    waiting = [job for job in jobs if result(folder, *job) is None]
    print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are there, in {folder}", flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    if options.data == "glyphs":  # written on first use, where other data may not be writable
        environment["DETECTRON2_DATASETS"] = str(REPO / "datasets")

    def run(job: tuple[str, int]) -> bool:
        config, seed = job
        path = REPO / "configs" / f"{config}.yaml"
        output = run_folder(folder, config, seed)
        output.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, str(REPO / "train_net.py"), "--config-file", str(path), "--resume",
            *small_overrides(build_cfg(str(path), []), miniature, iterations),
            "SEED", str(seed), "OUTPUT_DIR", str(output),
        ]  # fmt: skip
        with open(output / "console.txt", "w") as console:
            subprocess.run(command, env=environment, stdout=console, stderr=subprocess.STDOUT)
        metrics = result(folder, config, seed)
        what = f"AP {metrics['AP']:.1f}" if metrics else f"FAILED, see {output}/console.txt"
        print(f"{config} seed {seed}: {what}", flush=True)
        return metrics is not None

    with ThreadPoolExecutor(options.workers) as pool:
        return all(list(pool.map(run, waiting)))


def run_folder(folder: Path, config: str, seed: int) -> Path:
    """Where a run lies."""
    return folder / f"{Path(config).name}_s{seed}"


def result(folder: Path, config: str, seed: int) -> dict[str, float] | None:
    """The box metrics of a finished run, in percent; None for another."""
    log = run_folder(folder, config, seed) / "metrics.json"
    if not log.is_file():
        return None
    for line in reversed(log.read_text().splitlines()):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed
        if "bbox/AP" in record:
            return {k[5:]: v for k, v in record.items() if k.startswith("bbox/")}
    return None


def table(rows: tuple[Row, ...], metrics: tuple[str, ...], folder: Path, seeds: list[int]) -> str:
    """A Markdown table: mean and standard deviation of the sample over the seeds there are."""
    with_loss = any(row.loss for row in rows)
    header = ["detector", *(["loss"] if with_loss else []), *metrics, "runs"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        found = [r for seed in seeds if (r := result(folder, row.config, seed)) is not None]
        cells = [row.detector, *([row.loss] if with_loss else [])]
        cells += [mean_and_std([r[m] for r in found]) for m in metrics]
        lines.append("| " + " | ".join([*cells, str(len(found))]) + " |")
    return "\n".join(lines)


def mean_and_std(values: list[float]) -> str:
    """``26.9 ± 0.05``; a dash for no values, no deviation for one."""
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}"


if __name__ == "__main__":
    sys.exit(main())
