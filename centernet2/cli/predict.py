"""``centernet2 predict``: objects on images, folders and videos; goes on where it was stopped."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import centernet2.data
import centernet2.modeling  # noqa: F401  (registers the models, as the line above the data sets)
from centernet2.cli.arguments import new_parser, positive, probability
from centernet2.cli.ending import exit_status, warn_of
from centernet2.cli.video_options import (
    add_video_options,
    chosen_excerpt,
    chosen_tracker,
    least_score,
)
from centernet2.errors import UserError
from centernet2.inference.detector import load_predictor
from centernet2.inference.excerpt import Excerpt
from centernet2.inference.folder_run import FolderRun
from centernet2.inference.images import detect_images, image_jobs
from centernet2.inference.inputs import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_images
from centernet2.inference.predictor import Predictor
from centernet2.inference.progress import Meter, counted, rate_text
from centernet2.inference.results import ResultsWriter
from centernet2.inference.shards import Shard
from centernet2.inference.sinks import Sinks
from centernet2.inference.streams import detect_video, video_path
from centernet2.inference.tracking import Tracker
from centernet2.inference.zoo import everyday_models, shipped_models

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  the people on some photos, with the model that comes along:
    centernet2 predict street.jpg photos/ 'more/**/*.png' --output out/
  a model of your own: a training run's folder, or a config and its weights
    centernet2 predict photos/ --model output/mine
    centernet2 predict photos/ --model configs/CenterNet2_R50_1x.yaml --weights model_final.pth
  a video; half a minute of it, objects followed and counted:
    centernet2 predict street.mp4 --output out/
    centernet2 predict street.mp4 --start 1:30 --end 2:00 --track --output out/
  a large folder, results only; the same command goes on after an interruption:
    centernet2 predict archive/ --recursive --no-drawings --output out/ --resume
  the same on 8 GPUs (with --nnodes 2 ... on two machines that share the disk):
    torchrun --nproc-per-node 8 -m centernet2 predict archive/ --recursive --output out/

what is written:
  OUTPUT/street.jpg          the drawing of each image (street.mp4 of a video)
  OUTPUT/detections.jsonl    a line for each finished image, as it comes
  OUTPUT/detections.json     all of them as a COCO data set, at the end
  OUTPUT/results.json        the same as COCO results, for COCO.loadRes
  OUTPUT/street.json         of a video: COCO results by frame

exit status: 0 done, 1 some input could not be used (each is named; the others are done),
2 nothing could be done, 130 / 143 stopped by Ctrl-C / SIGTERM.
"""
_FEW = 20  # images that get a printed line each
_VIDEOS = "videos"


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 predict", "Find the objects on images, folders and videos.", _EXAMPLES
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="PATH",
        help="images, folders of images, patterns ('photos/**/*.jpg'), videos",
    )
    parser.add_argument(
        "--model",
        default=everyday_models()[0],
        metavar="MODEL",
        help=f"a shipped model ({', '.join(shipped_models())}), a config file, or the folder of a "
        "training run (default: %(default)s)",
    )
    parser.add_argument("--weights", metavar="FILE", help="instead of those of the model")
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)"
    )
    parser.add_argument(
        "--score-thresh",
        type=probability,
        default=0.5,
        metavar="SCORE",
        help="least score of a detection, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/predictions"),
        metavar="FOLDER",
        help="where results go; for one image, or one video, also a file for its drawing "
        "(default: %(default)s)",
    )
    parser.add_argument("--no-drawings", action="store_true", help="write results only")
    parser.add_argument(
        "--recursive", action="store_true", help="folders: take those in them too, of any depth"
    )
    parser.add_argument(
        "--resume", action="store_true", help="leave out what an earlier run finished"
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="images given to the model at a time (default: 1 on the CPU, 8 on a GPU)",
    )
    add_video_options(parser, _VIDEOS, _VIDEOS)
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
    return exit_status(
        lambda: _predict(args),
        "stopped; what was finished is saved: --resume with the same command goes on",
    )


def _predict(args: argparse.Namespace) -> int:
    # Says with each start that a function Detectron2 calls will be renamed
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    shard = Shard.from_environment()
    videos = [Path(name) for name in args.sources if _is_video(name)]
    found = find_images([n for n in args.sources if not _is_video(n)], args.recursive)
    inside = args.output.resolve()
    drawn = {folder for folder in {p.parent for p in found.places} if _is_in(folder, inside)}
    chosen = [pair for pair in zip(found.images, found.places) if pair[1].parent not in drawn]
    images = [path for path, _ in chosen]
    problems = list(found.problems)
    if not images and not videos:
        raise UserError("; ".join(problems) or f"all images are drawings in {args.output}")
    excerpt = chosen_excerpt(args, bool(videos), _VIDEOS)
    trackers = [
        chosen_tracker(args, args.score_thresh, not images, f"{_VIDEOS} without images beside them")
        for _ in range(max(1, len(videos)))
    ]
    targets = _video_targets(videos, args.output, bool(images))
    device, least = shard.device(args.device), least_score(args, args.score_thresh)
    predictor = load_predictor(args.model, args.weights, device, least, args.opts)
    batch_size = args.batch_size or predictor.usual_batch_size
    if args.output.suffix.lower() in IMAGE_SUFFIXES and not args.output.is_dir():
        if videos:
            raise UserError(f"--output {args.output}: a video needs a folder or a video file")
        problems += detect_images(predictor, image_jobs(images, args.output), batch_size=batch_size)
    elif images:
        work = FolderRun(predictor, chosen, args.output, not args.no_drawings, shard)
        problems += _predict_folder(predictor, work, batch_size, args.resume, shard)
    for video in shard.part(list(zip(videos, targets, trackers))):
        problems += _predict_video(predictor, *video, excerpt, batch_size, not args.no_drawings)
    warn_of(problems)
    # torchrun ends all processes when one fails
    return 1 if problems and shard.alone else 0


def _is_video(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _is_in(folder: Path, other: Path) -> bool:
    return folder == other or other in folder.parents


def _predict_folder(
    predictor: Predictor, work: FolderRun, batch_size: int, resume: bool, shard: Shard
) -> list[str]:
    todo = work.begin(resume)
    meter = Meter(len(todo), "image", shard.title, bar=shard.alone)
    if todo:
        with work.recorder() as record:
            problems = detect_images(
                predictor, todo, Sinks(record=record), batch_size, meter, tell=len(todo) <= _FEW
            )
    else:
        problems = []
    said = [counted(meter.done, "image"), rate_text(meter.done, meter.seconds, "image")]
    print(f"{shard.title} {', '.join(filter(None, said))}".lstrip())
    written = work.finish()
    if written is None:
        print(f"{shard.title} others are at work still; the last one writes detections.json")
    else:
        total, objects = counted(written.images, "image"), counted(written.objects, "object")
        print(f"{total} with {objects}: {written.document}")
    return problems


def _video_targets(videos: Sequence[Path], output: Path, images: bool) -> list[Path]:
    """The files for the drawings of videos; their results have the same names, but ``.json``."""
    targets = [video_path(video, output) for video in videos]
    taken = {output / "detections", output / "results"} if images else set()
    for video, target in zip(videos, targets):
        if target.with_suffix("") in taken:
            raise UserError(
                f"{video}: its results would overwrite others in {target.parent}; predict it by "
                "itself, with another --output"
            )
        taken.add(target.with_suffix(""))
    return targets


def _predict_video(
    predictor: Predictor,
    video: Path,
    target: Path,
    tracker: Tracker | None,
    excerpt: Excerpt,
    batch_size: int,
    drawings: bool,
) -> list[str]:
    drawn = target if drawings else None
    with ResultsWriter(target.with_suffix(".json"), predictor.category_ids) as results:
        problems = detect_video(
            predictor, video, drawn, Sinks(results), batch_size, excerpt, tracker
        )
    if tracker is not None:
        print(f"{video}: {tracker.summary(predictor.class_names)}")
    print(f"{video}: {target.with_suffix('.json')}")
    return problems
