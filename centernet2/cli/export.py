"""``centernet2 export``: a model as a file for other runtimes, compared with the model itself."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import centernet2.data
import centernet2.modeling  # noqa: F401  (registers the models, as the line above the data sets)
from centernet2.cli.arguments import new_parser, positive, probability
from centernet2.cli.ending import exit_status
from centernet2.engine.atomic import atomic_write
from centernet2.errors import UserError
from centernet2.export.check import check_inputs, check_parity, embedded_picture
from centernet2.export.extras import extra
from centernet2.export.file_info import describe_export
from centernet2.export.formats import SUFFIXES, format_of
from centernet2.export.graph import DetectorGraph
from centernet2.export.parity import Parity
from centernet2.export.runtimes import load_exported
from centernet2.export.writers import convert_to_openvino, write_onnx, write_torchscript
from centernet2.inference.detector import load_predictor
from centernet2.inference.inputs import read_image
from centernet2.inference.zoo import shipped_models

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  the shipped model for ONNX Runtime, images of any size:
    centernet2 export pedestrian --image street.jpg
  a model of your own for OpenVINO, images of 480 x 640 (height, width):
    centernet2 export output/mine --format openvino --size 480 640 --output mine.xml
  a config and its weights for TorchScript:
    centernet2 export configs/CenterNet2_R50_1x.yaml --weights model_final.pth --format torchscript

The file takes the pixels of one image, (height, width, 3) uint8 RGB, as `image` and gives `boxes`,
`scores`, `labels` and, with a mask head, `masks`: docs/EXPORT.md. What it finds is compared with
what the model finds, and the differences are printed.

exit status: 0 done; 1 the differences are greater than the tolerance, or nothing was found to
compare (the file is there); 2 nothing could be exported.
"""


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 export",
        "Write a model as a file for ONNX Runtime, OpenVINO or TorchScript, and compare both.",
        _EXAMPLES,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=f"a shipped model ({', '.join(shipped_models())}), a config file, or the folder of a "
        "training run",
    )
    parser.add_argument("--weights", metavar="FILE", help="instead of those of the model")
    parser.add_argument(
        "--format",
        choices=sorted(SUFFIXES),
        help="default: what the ending of --output stands for, else onnx",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="default: MODEL.onnx, .xml or .ts in this folder",
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--size",
        type=positive,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of all images, in pixels: others are resized and filled up by the caller",
    )
    sizes.add_argument(
        "--dynamic", action="store_true", help="images of any size (this is the default)"
    )
    parser.add_argument(
        "--score-thresh",
        type=probability,
        metavar="SCORE",
        help="least score of a detection, 0 to 1 (default: the configuration's)",
    )
    parser.add_argument(
        "--paste-masks",
        action="store_true",
        help="masks of the image's size instead of probabilities within each box",
    )
    parser.add_argument(
        "--image",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="images to compare on, with objects that the model knows (default: an embedded one)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        metavar="X",
        help="greatest difference allowed: of boxes in pixels, of scores and masks from 0 to 1 "
        "(default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the configuration; comes last",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the options say.

    Returns:
        The exit status.
    """
    return exit_status(lambda: _export(args))


def _export(args: argparse.Namespace) -> int:
    kind, output = _target(args)
    if kind != "torchscript":
        extra("onnx")
        extra("onnxruntime" if kind == "onnx" else "openvino")
    predictor = load_predictor(args.model, args.weights, "cpu", args.score_thresh, args.opts)
    if predictor.cfg.TEST.AUG.ENABLED:
        raise UserError("TEST.AUG.ENABLED True cannot be exported: set it to False")
    graph = DetectorGraph(
        predictor.model, predictor.cfg.INPUT.FORMAT, predictor.threshold, args.paste_masks
    )
    info = describe_export(predictor, tuple(args.size) if args.size else None, args.paste_masks)
    pictures = [read_image(path) for path in args.image] if args.image else [embedded_picture()]
    inputs = check_inputs(pictures, info)

    print(f"exporting to {output} ...", flush=True)
    if kind == "torchscript":
        write_torchscript(graph, inputs[0], info, output)
    elif kind == "onnx":
        write_onnx(graph, inputs[0], info, output)
    else:
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder, "model.onnx")
            write_onnx(graph, inputs[0], info, draft)
            convert_to_openvino(draft, info, output)
    file = load_exported(output)
    size = " x ".join(map(str, info.size)) if info.size else "any height x any width"
    print(f"input:   image, {size} x 3, uint8, RGB")
    print(f"outputs: {', '.join(graph.output_names)}")
    print(f"comparing {file.runtime} with PyTorch ...", flush=True)
    parity = check_parity(predictor, file, inputs)
    print(_parity_text(parity, args.tolerance))
    if args.json:
        with atomic_write(args.json, "w") as figures:
            json.dump(_figures(output, kind, parity, args.tolerance), figures, indent=2)
    return 0 if parity.expected and parity.within(args.tolerance) else 1


def _target(args: argparse.Namespace) -> tuple[str, Path]:
    """Format and file."""
    named = format_of(args.output) if args.output else None
    kind = args.format or named or "onnx"
    suffix = SUFFIXES[kind]
    if args.output is None:
        return kind, Path(Path(args.model).stem + suffix)
    if named != kind:
        raise UserError(f"--output {args.output}: a file of format {kind} ends in {suffix}")
    return kind, args.output


def _parity_text(parity: Parity, tolerance: float) -> str:
    if not parity.expected and not parity.found:
        return (
            "parity: nothing was found, so nothing could be compared: name pictures with objects "
            "that the model knows (--image FILE)"
        )
    verdict = "within" if parity.within(tolerance) else "NOT within"
    return (
        f"parity: {parity.matched} of {parity.expected} detections matched, "
        f"{parity.found - parity.matched} others; greatest difference: boxes {parity.box:.2g} "
        f"pixels, scores {parity.score:.2g}, masks {parity.mask:.2g}: {verdict} {tolerance:g}"
    )


def _figures(output: Path, kind: str, parity: Parity, tolerance: float) -> dict[str, Any]:
    return {
        "file": str(output),
        "format": kind,
        "bytes": output.stat().st_size,
        "tolerance": tolerance,
        "parity": {**vars(parity), "within": parity.within(tolerance)},
    }
