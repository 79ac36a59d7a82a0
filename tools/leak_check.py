#!/usr/bin/env python3
"""Whether long runs grow: memory, objects, open files, threads and processes (Linux).

    python tools/leak_check.py --iterations 2000 --images 5000

trains a detector that is as small as they come, then streams images through it, and prints what the
process holds on the way. It ends with status 1 if memory grows by more than ``--limit`` a thousand
steps once the first fifth is over, or if files or processes are left. Any other detector is checked
with ``--config-file`` and KEY VALUE pairs.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import hooks
from tabulate import tabulate

REPO = Path(__file__).resolve().parent.parent
# Before the package is imported: that is when data sets are registered
os.environ.setdefault("DETECTRON2_DATASETS", str(REPO / "datasets"))

from centernet2 import Detector  # noqa: E402
from centernet2.cli.arguments import positive  # noqa: E402
from centernet2.cli.ending import exit_status  # noqa: E402
from centernet2.engine import Trainer, build_cfg  # noqa: E402
from centernet2.engine.defaults import choose_device  # noqa: E402
from centernet2.errors import UserError  # noqa: E402

__all__ = ["Holdings", "growth", "holdings", "main", "stream", "train"]

# All parts of CenterNet2 with masks, in few channels
SMALL = [
    "MODEL.BACKBONE.NAME", "build_p67_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES", "('res3', 'res4', 'res5')",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.RESNETS.WIDTH_PER_GROUP", "8",
    "MODEL.FPN.IN_FEATURES", "('res3', 'res4', 'res5')",
    "MODEL.CENTERNET.NUM_BOX_CONVS", "1",
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "SOLVER.IMS_PER_BATCH", "1",
    "SOLVER.REFERENCE_IMS_PER_BATCH", "1",
    "SOLVER.BASE_LR", "0.001",
]  # fmt: skip


@dataclass(frozen=True)
class Holdings:
    """What a process holds.

    Attributes:
        step: iterations or images so far.
        memory: resident MiB.
        python: MiB that Python has allocated, where tracemalloc runs; else 0.
        objects: that Python's collector knows.
        files: open handles.
        threads: of the process.
        processes: that it has started and that have not been waited for.
    """

    step: int
    memory: float
    python: float
    objects: int
    files: int
    threads: int
    processes: int


def holdings(step: int = 0) -> Holdings:
    """What this process holds now, after a collection."""
    gc.collect()
    own = Path("/proc/self")
    pages = int((own / "statm").read_text().split()[1])
    tasks = list((own / "task").iterdir())
    children = [c for task in tasks for c in (task / "children").read_text().split()]
    return Holdings(
        step,
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        tracemalloc.get_traced_memory()[0] / 2**20 if tracemalloc.is_tracing() else 0.0,
        len(gc.get_objects()),
        len(os.listdir("/proc/self/fd")) - 1,  # one lists the folder
        len(tasks),
        len(children),
    )


def growth(samples: Sequence[Holdings], kind: str) -> float:
    """How much a kind of :class:`Holdings` grows in 1,000 steps, the first fifth left out.

    The slope of the line through the samples, by least squares.
    """
    late = [s for s in samples if s.step >= samples[-1].step / 5]
    slope = np.polyfit([s.step for s in late], [getattr(s, kind) for s in late], 1)[0]
    return float(1000 * slope)


def train(cfg: CfgNode, every: int) -> list[Holdings]:
    """Train a config's detector; what is held before, at every so many iterations, and after."""
    before = holdings()
    trainer = Trainer(cfg)
    samples: list[Holdings] = []
    trainer.register_hooks(
        [hooks.CallbackHook(after_step=lambda t: _sample(samples, t.iter + 1, every))]
    )
    trainer.train()
    return [before, *samples, holdings(cfg.SOLVER.MAX_ITER)]


def stream(detector: Detector, images: Sequence[str], count: int, every: int) -> list[Holdings]:
    """Detect on the images again and again; what is held before, on the way, and after."""
    samples = [holdings()]
    found = detector.stream(itertools.islice(itertools.cycle(images), count))
    for number, _ in enumerate(found, start=1):
        _sample(samples, number, every)
    return [*samples, holdings(count)]


def _sample(samples: list[Holdings], step: int, every: int) -> None:
    if step % every == 0:
        samples.append(holdings(step))


def report(what: str, samples: Sequence[Holdings], limit: float) -> bool:
    """Print the samples; whether nothing was left open, and memory grew by less than the limit."""
    header = [field.name for field in fields(Holdings)]
    print(f"{what}:\n\n{tabulate([astuple(s) for s in samples], header, 'github', '.1f')}\n")
    first, last = samples[0], samples[-1]
    rate = growth(samples[1:-1], "memory")
    objects = growth(samples[1:-1], "objects")
    print(f"Growth in 1,000 steps: {rate:+.2f} MiB, {objects:+.0f} objects.\n")
    if rate > limit:
        print(f"Memory grows by more than {limit} MiB in 1,000 steps.", file=sys.stderr)
    left = [k for k in ("files", "processes") if getattr(last, k) > getattr(first, k)]
    if left:
        print(f"Left open: {', '.join(left)}.", file=sys.stderr)
    return rate <= limit and not left


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run, print.

    Returns:
        0; 1 if something grew or stayed open.
    """
    parser = argparse.ArgumentParser(description="Whether long runs grow.")
    add = parser.add_argument
    add("--config-file", help="another detector; default: a very small CenterNet2")
    add("--iterations", type=int, default=2000, help="of training; 0: none")
    add("--images", type=int, default=5000, help="of inference; 0: none")
    add("--samples", type=positive, default=20, help="rows of each table")
    add("--limit", type=float, default=2.0, help="MiB that memory may grow in 1,000 steps")
    add("opts", nargs="*", metavar="KEY VALUE", help="config keys")
    options = parser.parse_args(arguments)

    def work() -> int:
        with tempfile.TemporaryDirectory() as folder:
            return 0 if _run(options, folder) else 1

    return exit_status(work)


def _run(options: argparse.Namespace, folder: str) -> bool:
    if not Path("/proc/self/statm").is_file():
        raise UserError("What a process holds is read from /proc: run this on Linux.")
    if min(options.iterations, options.images) < 0:
        raise UserError("--iterations and --images must be 0 or more.")
    own = [] if options.config_file else SMALL
    config = options.config_file or str(REPO / "configs" / "quickstart.yaml")
    cfg = build_cfg(config, [*own, *options.opts])
    choose_device(cfg)
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = folder, ()
    cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER = (), max(options.iterations, 1)
    flat = True
    if options.iterations:
        samples = train(cfg, _every(options.iterations, options.samples))
        flat = report("Training, by iteration", samples, options.limit)
    if options.images:
        if options.iterations:
            cfg.MODEL.WEIGHTS = str(Path(folder, "model_final.pth"))
        records = [r for name in cfg.DATASETS.TRAIN for r in DatasetCatalog.get(name)]
        files = [record["file_name"] for record in records]
        every = _every(options.images, options.samples)
        samples = stream(Detector(cfg), files, options.images, every)
        flat = report("Inference, by image", samples, options.limit) and flat
    return flat


def _every(steps: int, samples: int) -> int:
    return max(1, steps // samples)


if __name__ == "__main__":
    raise SystemExit(main())
