"""``centernet2 export``: a model as a file for other runtimes, compared with the model itself."""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch

import centernet2.data
import centernet2.modeling  # noqa: F401  (registers the models, as the line above the data sets)
from centernet2.cli.arguments import new_parser, positive, probability
from centernet2.cli.ending import exit_status
from centernet2.cli.output_files import check_place, write_json
from centernet2.engine.atomic import atomic_write
from centernet2.errors import UserError
from centernet2.export.check import (
    calibration_inputs,
    check_inputs,
    check_parity,
    embedded_picture,
)
from centernet2.export.extras import extra
from centernet2.export.file_info import FileInfo, describe_export
from centernet2.export.formats import SUFFIXES, format_of
from centernet2.export.graph import DetectorGraph
from centernet2.export.latency import compare_latency
from centernet2.export.parity import Parity
from centernet2.export.quantization import quantize
from centernet2.export.runtimes import ExportedFile, load_exported
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
  in 8-bit integers, with times; then what that costs in accuracy:
    centernet2 export pedestrian --int8 --calibration photos/ --benchmark --output int8.onnx
    centernet2 eval --model int8.onnx
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
    parser.add_argument(
        "--int8",
        action="store_true",
        help="convolutions in 8-bit integers: smaller and on many processors faster, less accurate",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FOLDER",
        help="of images that tell the range of the integers; at most 100 are taken",
    )
    parser.add_argument(
        "--benchmark", action="store_true", help="time the file beside PyTorch on the CPU"
    )
    parser.add_argument(
        "--repeat", type=positive, default=20, metavar="N", help="rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's)"
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
    _check_options(args, kind)
    for path in filter(None, [output, args.json]):
        check_place(path)
    torch.set_num_threads(args.threads or torch.get_num_threads())
    predictor = load_predictor(args.model, args.weights, "cpu", args.score_thresh, args.opts)
    test = predictor.cfg.TEST
    if test.AUG.ENABLED:
        raise UserError("TEST.AUG.ENABLED True cannot be exported: set it to False")
    if test.PRECISION != "float32":
        raise UserError(f"TEST.PRECISION {test.PRECISION} cannot be exported: set it to float32")
    graph = DetectorGraph(
        predictor.model, predictor.cfg.INPUT.FORMAT, predictor.threshold, args.paste_masks
    )
    info = describe_export(predictor, tuple(args.size) if args.size else None, args.paste_masks)
    pictures = [read_image(path) for path in args.image] if args.image else [embedded_picture()]
    inputs = check_inputs(pictures, info)
    images = calibration_inputs(args.calibration, info) if args.int8 else []

    print(f"exporting to {output} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if kind == "torchscript":
            write_torchscript(graph, inputs[0], info, output)
            file = load_exported(output)
        else:
            # OpenVINO's files and 8 bits are made from an ONNX file
            draft = Path(folder, "model.onnx")
            write_onnx(graph, inputs[0], info, draft)
            if not args.int8:
                _place(draft, kind, info, output)
            file = load_exported(draft if args.int8 else output, runtime=kind)
        size = " x ".join(map(str, info.size)) if info.size else "any height x any width"
        print(f"input:   image, {size} x 3, uint8, RGB")
        print(f"outputs: {', '.join(graph.output_names)}")
        print(f"comparing {file.runtime} with PyTorch ...", flush=True)
        parity = check_parity(predictor, file, inputs)
        print(_parity_text(parity, args.tolerance))
        figures = _figures(output, kind, parity, args.tolerance)
        if args.int8:
            print(f"calibrating 8-bit integers on {len(images)} images ...", flush=True)
            changed = quantize(draft, images, info, Path(folder, "int8.onnx"))
            _place(Path(folder, "int8.onnx"), kind, info, output)
            file = load_exported(output)
            rounded = check_parity(predictor, file, inputs)
            print(f"int8:    {changed} convolutions; {_differences(rounded)}")
            figures["int8"] = {"convolutions": changed, "images": len(images), **vars(rounded)}
    figures["bytes"] = sum(path.stat().st_size for path in _files(output))
    if args.benchmark:
        print(f"timing {args.repeat} rounds ...", flush=True)
        figures["benchmark"] = compare_latency(
            predictor, _timed(file, kind, output), inputs[0], args.repeat
        )
        print(_latency_text(figures["benchmark"]))
    if args.json:
        write_json(figures, args.json)
    return 0 if parity.expected and parity.within(args.tolerance) else 1


def _check_options(args: argparse.Namespace, kind: str) -> None:
    if args.int8 and kind == "torchscript":
        raise UserError("--int8 is for the formats onnx and openvino, not torchscript")
    if args.int8 != (args.calibration is not None):
        raise UserError(
            "--int8 needs --calibration FOLDER, and that --int8: a folder of some dozens of images "
            "like those that the model will be given"
        )
    if kind != "torchscript":
        extra("onnx")
        extra("onnxruntime" if kind == "onnx" or args.int8 else "openvino")
    if kind == "openvino":
        extra("openvino")


def _place(draft: Path, kind: str, info: FileInfo, output: Path) -> None:
    """Bring an ONNX file to where and what it is to be."""
    if kind == "openvino":
        convert_to_openvino(draft, info, output)
        return
    with atomic_write(output) as file:
        file.write(draft.read_bytes())


def _files(output: Path) -> list[Path]:
    weights = output.with_suffix(".bin")  # OpenVINO's second file
    return [output, weights] if output.suffix == SUFFIXES["openvino"] else [output]


def _timed(file: ExportedFile, kind: str, output: Path) -> list[ExportedFile]:
    """The file, and an ONNX file by OpenVINO too where that is installed."""
    if kind != "onnx" or importlib.util.find_spec("openvino") is None:
        return [file]
    return [file, load_exported(output, runtime="openvino")]


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
    return f"parity:  {_differences(parity)}: {verdict} {tolerance:g}"


def _differences(parity: Parity) -> str:
    return (
        f"{parity.matched} of {parity.expected} detections matched, "
        f"{parity.found - parity.matched} others; greatest difference: boxes {parity.box:.2g} "
        f"pixels, scores {parity.score:.2g}, masks {parity.mask:.2g}"
    )


def _latency_text(measured: dict[str, Any]) -> str:
    about, rows = measured["machine"], measured["runtimes"]
    rounds = next(iter(rows.values()))["rounds"]
    lines = [
        f"{about['processor']}, {about['threads']} threads, load {about['load']}; an image of "
        f"{' x '.join(map(str, measured['size']))}, medians of {rounds} rounds in turns:"
    ]
    for name, row in rows.items():
        low, high = row["quartiles_s"]
        lines.append(
            f"  {name:24} {1000 * row['median_s']:7.1f} ms ({1000 * low:.1f} - {1000 * high:.1f})"
            f"  x{row['ratio_to_pytorch']:.2f}  processor {1000 * row['processor_median_s']:.1f} ms"
        )
    return "\n".join(lines)


def _figures(output: Path, kind: str, parity: Parity, tolerance: float) -> dict[str, Any]:
    return {
        "file": str(output),
        "format": kind,
        "tolerance": tolerance,
        "parity": {**vars(parity), "within": parity.within(tolerance)},
    }
