#!/usr/bin/env python
"""Draw the objects that a model finds on images, a video or a camera. See demo/README.md."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from centernet2.cli.arguments import positive, probability
from centernet2.cli.ending import exit_status, warn_of
from centernet2.cli.video_options import (
    add_video_options,
    chosen_excerpt,
    chosen_tracker,
    least_score,
)
from centernet2.errors import UserError
from centernet2.inference.detector import load_predictor
from centernet2.inference.images import detect_images, image_jobs
from centernet2.inference.inputs import find_images
from centernet2.inference.predictor import Predictor
from centernet2.inference.results import ResultsWriter
from centernet2.inference.sinks import Sinks
from centernet2.inference.streams import detect_camera, detect_video
from centernet2.inference.window import Window
from centernet2.inference.zoo import everyday_models, shipped_models

_VIDEOS, _STREAMS = "--video-input", "--video-input and --webcam"


def get_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description="Draw the objects that a model finds on images, a video or a camera.",
        epilog="Examples: demo.py --input street.jpg photos/ --output out/   "
        "demo.py --video-input in.mp4 --output out.mp4",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", nargs="+", metavar="PATH", help="images, folders of images, patterns ('a*.jpg')"
    )
    source.add_argument("--video-input", type=Path, metavar="FILE", help="a video")
    source.add_argument(
        "--webcam", nargs="?", type=int, const=0, metavar="INDEX", help="a camera (default: 0)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder or file for the drawings; without it, a window shows them",
    )
    parser.add_argument(
        "--save-json", type=Path, metavar="FILE", help="write the detections as COCO results"
    )
    parser.add_argument(
        "--model",
        default=everyday_models()[0],
        help=f"a shipped model: {', '.join(shipped_models())} (default: %(default)s)",
    )
    parser.add_argument(
        "--config-file", metavar="FILE", help="a configuration instead of a shipped model"
    )
    parser.add_argument(
        "--confidence-threshold",
        type=probability,
        default=0.5,
        metavar="SCORE",
        help="least score of a detection, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="images given to the model at a time (default: 1 on the CPU, 8 on a GPU)",
    )
    add_video_options(parser, _VIDEOS, _STREAMS)
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the configuration, such as MODEL.WEIGHTS model.pth MODEL.DEVICE cpu",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit status: 0; 1 when some input could not be used; 2 when nothing could be done.
    """
    args = get_parser().parse_args(arguments)

    def work() -> int:
        problems = run(args)
        warn_of(problems)
        return 1 if problems else 0

    return exit_status(work, "stopped; what was finished is saved")


def run(args: argparse.Namespace) -> list[str]:
    """Do what the options say.

    Args:
        args: of :func:`get_parser`.

    Returns:
        One sentence for each input that could not be used.

    Raises:
        UserError: nothing could be done.
    """
    with contextlib.ExitStack() as stack:
        window = None
        if args.output is None and args.save_json is None:
            window = stack.enter_context(Window("CenterNet2"))
        problems: list[str] = []
        if args.input is not None:
            found = find_images(args.input)
            images, problems = found.images, found.problems
            if not images:
                raise UserError("; ".join(problems))
        elif args.video_input is not None and not args.video_input.is_file():
            raise UserError(f"--video-input {args.video_input}: no such file")
        threshold = args.confidence_threshold
        excerpt = chosen_excerpt(args, args.video_input is not None, _VIDEOS)
        tracker = chosen_tracker(args, threshold, args.input is None, _STREAMS)
        predictor = build_predictor(args)
        results = None
        if args.save_json is not None:
            results = stack.enter_context(ResultsWriter(args.save_json, predictor.category_ids))
        sinks = Sinks(results, window)
        batch_size = args.batch_size or predictor.usual_batch_size
        if args.input is not None:
            return problems + detect_images(
                predictor, image_jobs(images, args.output), sinks, batch_size
            )
        if args.video_input is not None:
            problems = detect_video(
                predictor, args.video_input, args.output, sinks, batch_size, excerpt, tracker
            )
        else:
            problems = detect_camera(
                predictor, args.webcam, args.output, sinks, batch_size, tracker
            )
        if tracker is not None:
            print(tracker.summary(predictor.class_names))
        return problems


def build_predictor(args: argparse.Namespace) -> Predictor:
    """Load the model that the options name."""
    threshold = least_score(args, args.confidence_threshold)
    return load_predictor(args.config_file or args.model, score_thresh=threshold, opts=args.opts)


if __name__ == "__main__":
    sys.exit(main())
