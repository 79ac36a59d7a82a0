"""``centernet2 eval``: what ``train_net.py --eval-only`` does, with models by name."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from centernet2.cli.arguments import new_parser
from centernet2.cli.train import train_or_evaluate
from centernet2.engine import evaluate_checkpoint, launch, setup
from centernet2.errors import UserError
from centernet2.export.detector import ExportedDetector
from centernet2.export.formats import format_of
from centernet2.export.runtimes import load_exported
from centernet2.inference.cases import draw_case
from centernet2.inference.model_files import find_model
from centernet2.inference.zoo import shipped_models

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  a training run, on its own validation data:
    centernet2 eval --model output/mine
  the shipped model on your data in COCO's format:
    centernet2 eval --model pedestrian --val val.json images/ --output output/eval
  a config and its weights on the data that the config names, on two GPUs:
    centernet2 eval --model configs/CenterNet2_R50_1x.yaml --weights model_final.pth --num-gpus 2
  a file that centernet2 export wrote:
    centernet2 eval --model pedestrian.onnx
  on resized and mirrored views too:
    centernet2 eval --model output/mine TEST.AUG.ENABLED True

The figures, results and a report go to OUTPUT; every config key is described in docs/CONFIG.md.
exit status: 0 done, 2 a mistake in options or data.
"""


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 eval", "Measure a detector on annotated images: COCO's or LVIS's AP.", _EXAMPLES
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help=f"a shipped model ({', '.join(shipped_models())}), a config file, the folder of a "
        "training run, or an exported file",
    )
    parser.add_argument("--weights", metavar="FILE", help="instead of those of the model")
    parser.add_argument(
        "--val",
        nargs="+",
        metavar=("VAL.JSON", "IMAGE_FOLDER"),
        help="annotations in COCO's format and their images (default: DATASETS.TEST of the config)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where figures and report go (default: OUTPUT_DIR of the config)",
    )
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="on this machine")
    parser.add_argument(
        "--num-cpu-procs", type=int, default=0, metavar="N", help="processes on the CPU instead"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes to the config")
    parser.set_defaults(
        eval_only=True,
        resume=False,
        data=None,
        val_fraction=0.0,
        num_machines=1,
        machine_rank=0,
        dist_url="auto",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the options say.

    Returns:
        The exit status.
    """
    if format_of(Path(args.model)) is not None:
        return _run_exported(args)
    try:
        config, weights = find_model(args.model, args.weights)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    args.config_file = str(config)
    changes = ["MODEL.WEIGHTS", weights] if weights is not None else []
    changes += ["OUTPUT_DIR", str(args.output)] if args.output is not None else []
    args.opts = [*changes, *args.opts]
    return launch(train_or_evaluate, args)


def _run_exported(args: argparse.Namespace) -> int:
    """Evaluate an exported file, whose configuration is in it, in this process."""
    args.num_gpus = args.num_cpu_procs = 0
    with tempfile.TemporaryDirectory() as folder:
        args.config_file = str(Path(folder, "config.yaml"))
        return launch(_evaluate_exported, args)


def _evaluate_exported(args: argparse.Namespace) -> None:
    if args.weights is not None:
        raise UserError(f"--weights: {args.model} has its own; leave the option out")
    file = load_exported(args.model)
    Path(args.config_file).write_text(file.info.config, encoding="utf-8")
    output = args.output or Path("output", "eval", Path(args.model).stem)
    fixed = ["INPUT.TEST_INPUT_TYPE", "default", "INPUT.MIN_SIZE_TEST", "0"]  # resized by the model
    named = ["MODEL.WEIGHTS", args.model, "OUTPUT_DIR", str(output)]
    args.opts = [*named, *(fixed if file.info.size else []), *args.opts]
    cfg = setup(args)
    model = ExportedDetector(file, cfg.INPUT.FORMAT)
    evaluate_checkpoint(cfg, config_file=args.model, draw=draw_case, model=model)
