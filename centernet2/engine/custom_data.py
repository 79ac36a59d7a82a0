"""Training on the user's own files: ``--data``, ``--val`` and the keys of DATASETS.CUSTOM."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import os
from collections.abc import Sequence

from detectron2.config import CfgNode

from centernet2.data.datasets import register_custom
from centernet2.data.datasets.coco_summary import CocoSummary, read_coco, summarize_coco
from centernet2.data.datasets.custom import CUSTOM_TRAIN, CUSTOM_VAL, require_files
from centernet2.data.datasets.keypoints import mirror_pairs
from centernet2.data.datasets.split import split_coco
from centernet2.engine.atomic import atomic_write
from centernet2.engine.checks import class_counts, set_num_classes
from centernet2.engine.data_folder import is_source
from centernet2.engine.once import once_a_machine
from centernet2.errors import UserError

__all__ = ["add_data_options", "data_overrides", "prepare_custom_data", "split_validation"]

logger = logging.getLogger(__name__)

# Schedules of the recipes show each image 12 to 98 times; fine-tuning needs fewer.
_FEWEST_EPOCHS, _USUAL_EPOCHS, _MOST_EPOCHS = 2, 24, 200


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and ``--val``."""
    parser.add_argument(
        "--data",
        nargs="+",
        metavar=("TRAIN.JSON", "IMAGE_FOLDER"),
        help="train on these annotations in COCO's format and their images; or one FOLDER or "
        "data.yaml: a data set in COCO's, YOLO's, Pascal VOC's or LabelMe's format",
    )
    parser.add_argument(
        "--val",
        nargs="+",
        metavar=("VAL.JSON", "IMAGE_FOLDER"),
        help="evaluate on these; without it on the validation part of --data, or a part of it that "
        "is kept for that",
    )
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.2,
        metavar="PART",
        help="part of the images of --data to keep for validation where there are no others "
        "(default 0.2; 0: train on all)",
    )


def data_overrides(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """What ``--data`` and ``--val`` stand for.

    Returns:
        KEY VALUE overrides of the two options, and those that the user wrote: argparse takes some
        of them for further values of an option.

    Raises:
        UserError: an image folder is not given.
    """
    data: list[str] = []
    written: list[str] = []
    for option, values, key in (("--data", args.data, "TRAIN"), ("--val", args.val, "VAL")):
        if not values:
            continue
        if is_source(values[0]):  # its files are found once OUTPUT_DIR is known
            written += values[1:]
            continue
        if len(values) < 2:
            raise UserError(
                f"{option} {values[0]}: the folder of the images is missing; write {option} "
                "ANNOTATIONS.json IMAGE_FOLDER."
            )
        json_file, images, *rest = values
        require_files(json_file, images)
        written += rest
        # Absolute, so that the saved config works from any folder.
        data += [f"DATASETS.CUSTOM.{key}_JSON", repr(os.path.abspath(json_file))]
        data += [f"DATASETS.CUSTOM.{key}_IMAGES", repr(os.path.abspath(images))]
    if args.data:
        data += ["DATASETS.TRAIN", repr((CUSTOM_TRAIN,))]
        if (
            not args.eval_only
        ):  # classes of an earlier run's config make place for those of the data
            data += ["DATASETS.CUSTOM.CLASSES", "[]", "DATASETS.CUSTOM.CLASS_IDS", "[]"]
    if args.data or args.val:
        data += ["DATASETS.TEST", repr((CUSTOM_VAL,) if args.val else ())]
    if args.data and not args.val:
        data += ["DATASETS.CUSTOM.VAL_JSON", "", "DATASETS.CUSTOM.VAL_IMAGES", ""]
    return data, written + list(args.opts or [])


def split_validation(cfg: CfgNode, fraction: float) -> None:
    """Keep a part of the images of "custom_train" for "custom_val", in place.

    Both parts are written to OUTPUT_DIR; the same file gives the same parts in every run.

    Args:
        cfg: not frozen.
        fraction: of the images; 0 leaves all to training.

    Raises:
        UserError: the fraction is not between 0 and 1, or the files are not as they should be.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"--val-fraction is {fraction}; it must be at least 0 and below 1.")
    if fraction == 0:
        return
    custom = cfg.DATASETS.CUSTOM
    parts = [
        os.path.abspath(os.path.join(cfg.OUTPUT_DIR, f"{name}.json"))
        for name in (CUSTOM_TRAIN, CUSTOM_VAL)
    ]
    sizes = once_a_machine(
        lambda: _write_parts(custom.TRAIN_JSON, custom.TRAIN_IMAGES, fraction, parts)
    )
    logger.info(
        "%s is split into %d images to train on and %d to evaluate on (--val-fraction %g): %s, %s.",
        custom.TRAIN_JSON,
        *sizes,
        fraction,
        *parts,
    )
    custom.TRAIN_JSON, custom.VAL_JSON = parts
    custom.VAL_IMAGES = custom.TRAIN_IMAGES
    cfg.DATASETS.TEST = (CUSTOM_VAL,)
    register_custom(cfg)


def _write_parts(
    json_file: str, images: str, fraction: float, paths: Sequence[str]
) -> tuple[int, ...]:
    summarize_coco(json_file, images)  # so that mistakes are told of the user's file
    try:
        parts = split_coco(read_coco(json_file), fraction)
    except UserError as error:
        raise UserError(f"{json_file}: {error}; give --val, or --val-fraction 0.") from error
    for path, part in zip(paths, parts):
        with atomic_write(path, "w") as file:
            json.dump(part, file)
    return tuple(len(part["images"]) for part in parts)


def prepare_custom_data(cfg: CfgNode, evaluation: bool = False) -> None:
    """Check the custom data sets that a run uses and fit the config to them, in place.

    Classes are put into DATASETS.CUSTOM and into the keys that hold their number; masks are
    switched off if there are none, and INPUT.MASK_FORMAT set to what the masks need.

    Args:
        cfg: not frozen.
        evaluation: whether only DATASETS.TEST is used.

    Raises:
        UserError: naming what is wrong with the files, or that they have different categories.
    """
    custom = cfg.DATASETS.CUSTOM
    used: list[tuple[str, str, bool]] = []
    if custom.TRAIN_JSON and CUSTOM_TRAIN in cfg.DATASETS.TRAIN and not evaluation:
        used.append((custom.TRAIN_JSON, custom.TRAIN_IMAGES, False))
    if custom.VAL_JSON and CUSTOM_VAL in cfg.DATASETS.TEST:
        used.append((custom.VAL_JSON, custom.VAL_IMAGES, True))
    if not used:
        return
    summaries = once_a_machine(lambda: [_summary(*parts) for parts in used])
    for (json_file, _, is_val), summary in zip(used, summaries):
        _adopt_classes(cfg, json_file, summary)
        if not is_val:
            _tell_contents(cfg, json_file, summary)
            _check_length(cfg, summary)
    _fit_masks(cfg, [json_file for json_file, _, _ in used], summaries)
    _fit_class_counts(cfg)
    _fit_joints(cfg, summaries[0])
    register_custom(cfg)


def _summary(json_file: str, images: str, evaluated: bool) -> CocoSummary:
    require_files(json_file, images)
    return summarize_coco(json_file, images, evaluated)


def _adopt_classes(cfg: CfgNode, json_file: str, summary: CocoSummary) -> None:
    custom = cfg.DATASETS.CUSTOM
    found = list(zip(summary.class_ids, summary.classes))
    if not custom.CLASSES:
        custom.CLASSES = list(summary.classes)
    if not custom.CLASS_IDS:
        custom.CLASS_IDS = list(summary.class_ids)
    known = list(zip(custom.CLASS_IDS, custom.CLASSES))
    for one, other in itertools.zip_longest(known, found):
        if one != other:
            raise UserError(
                f"{json_file} has other categories than the training data: {_named(other)} "
                f"instead of {_named(one)}; give both files the same ids and names."
            )


def _named(category: tuple[int, str] | None) -> str:
    return "nothing" if category is None else f"'{category[1]}' (id {category[0]})"


def _tell_contents(cfg: CfgNode, json_file: str, summary: CocoSummary) -> None:
    logger.info(
        "%s: %d images, %d objects, %d classes (%s).",
        json_file,
        summary.images,
        summary.objects,
        len(summary.classes),
        ", ".join(summary.classes[:10]) + (", ..." if len(summary.classes) > 10 else ""),
    )
    if summary.unlabelled and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        logger.info(
            "%d images of %s without annotations are left out; DATALOADER.FILTER_EMPTY_ANNOTATIONS "
            "False trains on them as background.",
            summary.unlabelled,
            json_file,
        )


def _check_length(cfg: CfgNode, summary: CocoSummary) -> None:
    # A schedule made for another data set is the commonest reason for a useless model.
    solver = cfg.SOLVER
    images = summary.images
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        images -= summary.unlabelled
    batch = solver.IMS_PER_BATCH * max(solver.ACCUMULATION_STEPS, 1)
    epochs = solver.MAX_ITER * batch / max(images, 1)
    if _FEWEST_EPOCHS <= epochs <= _MOST_EPOCHS:
        return
    logger.warning(
        "SOLVER.MAX_ITER %d of %d images each shows the %d images of the data %.3g times%s: "
        "consider SOLVER.MAX_ITER %d (%d times), with SOLVER.STEPS below it.",
        solver.MAX_ITER,
        batch,
        images,
        epochs,
        " only" if epochs < _FEWEST_EPOCHS else "",
        max(1, math.ceil(_USUAL_EPOCHS * images / batch)),
        _USUAL_EPOCHS,
    )


def _fit_masks(cfg: CfgNode, files: Sequence[str], summaries: Sequence[CocoSummary]) -> None:
    if not cfg.MODEL.MASK_ON:
        return
    if 0 < summaries[0].without_mask == summaries[0].objects:
        logger.warning("%s has boxes only: masks are switched off (MODEL.MASK_ON False).", files[0])
        cfg.MODEL.MASK_ON = False
        return
    for json_file, summary in zip(files, summaries):
        # Validation without any masks is fine: boxes alone are measured then.
        if 0 < summary.without_mask < summary.objects:
            raise UserError(
                f"{json_file}: {summary.without_mask} of {summary.objects} objects have no mask "
                f"(the first is annotation {summary.first_without_mask!r}); give them masks, or "
                "set MODEL.MASK_ON False to use boxes alone."
            )
    if summaries[0].has_rle and cfg.INPUT.MASK_FORMAT != "bitmask":
        logger.info("%s has run-length masks: INPUT.MASK_FORMAT is set to bitmask.", files[0])
        cfg.INPUT.MASK_FORMAT = "bitmask"


def _fit_joints(cfg: CfgNode, summary: CocoSummary) -> None:
    # Into the config, as a trained model is used where its data is not
    points, names = cfg.MODEL.POINTS, list(summary.keypoint_names)
    if not (names and cfg.MODEL.KEYPOINT_ON and cfg.MODEL.META_ARCHITECTURE == "ObjectsAsPoints"):
        return
    if not points.MIRROR_PAIRS:
        pairs = [[names.index(a), names.index(b)] for a, b in mirror_pairs(names)]
        points.MIRROR_PAIRS = pairs or [[0, 0]]
    if len(names) != cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS:
        cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = len(names)
        logger.info("Joints of the data: MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS %d.", len(names))


def _fit_class_counts(cfg: CfgNode) -> None:
    number = len(cfg.DATASETS.CUSTOM.CLASSES)
    before = class_counts(cfg)
    set_num_classes(cfg, number)
    changed = [f"{key} {number}" for key, old in before.items() if old != number]
    if changed:
        logger.info("Classes of the data: %s.", ", ".join(changed))
