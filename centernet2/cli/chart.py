"""``centernet2 chart``: accuracy against speed of models, measured and drawn."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from centernet2.benchmarks.chart import draw_chart, write_page
from centernet2.benchmarks.models import Contestant, Scene, inference_step
from centernet2.benchmarks.points import Point, Timed, time_models
from centernet2.benchmarks.published_speeds import published_points
from centernet2.benchmarks.timing import WARM_UP, machine
from centernet2.cli.arguments import new_parser, positive
from centernet2.cli.ending import exit_status
from centernet2.cli.output_files import check_place, write_json
from centernet2.engine import Trainer, build_cfg
from centernet2.errors import UserError
from centernet2.evaluation.curves import check_picture_name, write_picture
from centernet2.inference.model_files import find_model

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  two training runs and a shipped model, as a page with names under the mouse:
    centernet2 chart output/a output/b pedestrian --output chart.html --json chart.json
  as a picture, beside published figures, each on its own axes:
    centernet2 chart "ours=output/a" pedestrian --published --output chart.png
  configs without trained weights are timed only:
    centernet2 chart output/a --untrained configs/CenterNet2_R50_1x.yaml --output chart.png
  drawn again, or together with what another machine has measured:
    centernet2 chart --from chart.json gpu.json --output chart.png

A MODEL is a shipped model, the folder of a training run or a config with weights; its AP is
measured on the data set of its config, its time on images of that set, all models in turns.
exit status: 0 done, 2 a mistake in options or configs.
"""
_PAGE = (".html", ".htm")


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("centernet2 chart", "Draw accuracy against speed of models.", _EXAMPLES)
    parser.add_argument("models", nargs="*", metavar="[NAME=]MODEL", help="with trained weights")
    parser.add_argument(
        "--untrained",
        nargs="+",
        default=[],
        metavar="[NAME=]CONFIG",
        help="timed with random weights",
    )
    parser.add_argument(
        "--from",
        dest="files",
        nargs="+",
        type=Path,
        default=[],
        metavar="JSON",
        help="points that this command has measured before",
    )
    parser.add_argument(
        "--published", action="store_true", help="others' figures too, in a panel of their own"
    )
    parser.add_argument(
        "--output",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="an .html page or a picture (.png, .svg, .pdf), or several",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the points there")
    parser.add_argument(
        "--repeat", type=positive, default=15, metavar="N", help="timed rounds (%(default)s)"
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure, draw.

    Returns:
        The exit status.
    """
    return exit_status(lambda: _chart(options))


def _chart(options: argparse.Namespace) -> int:
    if not (options.models or options.untrained or options.files or options.published):
        raise UserError("centernet2 chart: name a model, or --from a file of points.")
    for path in filter(None, [*options.output, options.json]):
        check_place(path)
    for output in options.output:
        if output.suffix.lower() not in _PAGE:
            check_picture_name(output)
    points = [point for path in options.files for point in _read(path)]
    points += _measure(options.models, options.untrained, options.repeat)
    if options.json:
        write_json({"points": [asdict(point) for point in points]}, options.json)
    for point in points:
        ap = "   -" if point.ap is None else f"{point.ap:4.1f}"
        print(f"{point.name:36} AP {ap}  {point.fps:7.2f} images/s  {point.group}; {point.about}")
    points += published_points() if options.published else []
    for output in options.output:
        if output.suffix.lower() in _PAGE:
            write_page(points, output)
        else:
            write_picture(draw_chart(points), output)
    return 0


def _read(path: Path) -> list[Point]:
    try:
        return [Point(**row) for row in json.loads(path.read_text(encoding="utf-8"))["points"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read: give a file that centernet2 chart --json wrote."
        ) from error


def _measure(models: Sequence[str], untrained: Sequence[str], repeat: int) -> list[Point]:
    timed = []
    for word in models:
        name, _, model = word.rpartition("=")
        config, weights = find_model(model)
        overrides = ["MODEL.WEIGHTS", weights] if weights is not None else []
        cfg = build_cfg(str(config), overrides)
        if not cfg.DATASETS.TEST:
            raise UserError(f"{config} names no data set to measure on: set DATASETS.TEST.")
        contestant = Contestant(str(config), ("fused",))
        step, network = inference_step(contestant, overrides, repeat + WARM_UP, None)
        results = Trainer.test(cfg, network)
        ap: Any = results.get("bbox", {}).get("AP")
        label = name or (Path(model).name if Path(model).is_dir() else Path(model).stem)
        group = f"{cfg.DATASETS.TEST[0]}, {_place(cfg)}"
        point = Point(label, group, 0.0, float(ap), about=_test_size(cfg))
        timed.append(Timed(point, step, network))
    for word in untrained:
        name, _, config_file = word.rpartition("=")
        overrides = ["MODEL.WEIGHTS", ""]
        cfg = build_cfg(config_file, overrides)
        scene = Scene(_usual_size(cfg))
        step, network = inference_step(Contestant(config_file, ("fused",)), overrides, 1, scene)
        about = f"{scene.size[0]}x{scene.size[1]}"
        group = f"random images, {_place(cfg)}"
        point = Point(name or Path(config_file).stem, group, 0.0, about=about)
        timed.append(Timed(point, step, network))
    return time_models(timed, repeat)


def _place(cfg: CfgNode) -> str:
    here = machine()
    if here["gpu"] != "none" and cfg.MODEL.DEVICE != "cpu":
        return str(here["gpu"])
    return f"{here['processor']} with {here['threads']} threads"


def _test_size(cfg: CfgNode) -> str:
    if cfg.INPUT.TEST_INPUT_TYPE == "square":
        return f"{cfg.INPUT.TEST_SIZE}x{cfg.INPUT.TEST_SIZE}"
    if cfg.INPUT.MIN_SIZE_TEST == 0:
        return "images in their own size"
    return f"short side {cfg.INPUT.MIN_SIZE_TEST}, long side up to {cfg.INPUT.MAX_SIZE_TEST}"


def _usual_size(cfg: CfgNode) -> tuple[int, int]:
    """Height and width of a photograph of 3:2 at the config's size, in multiples of 32.

    COCO's photographs are 640 pixels wide, for configs that take them as they are.
    """
    if cfg.INPUT.TEST_INPUT_TYPE == "square":
        return cfg.INPUT.TEST_SIZE, cfg.INPUT.TEST_SIZE
    if cfg.INPUT.MIN_SIZE_TEST == 0:
        return 448, 640
    height = cfg.INPUT.MIN_SIZE_TEST
    width = min(round(height * 1.5 / 32) * 32, cfg.INPUT.MAX_SIZE_TEST)
    return height, width
