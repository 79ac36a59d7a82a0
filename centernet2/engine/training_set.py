"""The images of a config's training sets and how often each is shown."""

from __future__ import annotations

import difflib
import itertools
import logging
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.samplers import RepeatFactorTrainingSampler

from centernet2.engine.proposal_files import add_proposals, proposal_file
from centernet2.engine.sampling_weights import class_aware_weights, data_set_weights
from centernet2.errors import UserError

__all__ = ["TrainingSet", "check_datasets", "load_training_set"]

logger = logging.getLogger(__name__)


def check_datasets(names: tuple[str, ...] | list[str], key: str) -> None:
    """Refuse names that are not registered.

    Args:
        names: data set names.
        key: the config key they came from, for the message.

    Raises:
        UserError: with the nearest registered name.
    """
    known = list(DatasetCatalog.keys())
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "register it first."
            raise UserError(f"{key}: no data set '{name}' is registered; {hint}")


class TrainingSet(NamedTuple):
    """Images to train on."""

    records: list[dict[str, Any]]
    """Detectron2 data set dicts; with DATALOADER.SOURCE_AWARE, ``dataset_source`` is the place of
    the data set in DATASETS.TRAIN."""
    factors: torch.Tensor
    """(images,) float: how often each appears in an epoch, or its weight in drawing."""
    replacement: bool
    """Whether images are drawn with replacement by their weights."""


def load_training_set(cfg: CfgNode) -> TrainingSet:
    """Load DATASETS.TRAIN and work out how often DATALOADER.SAMPLER_TRAIN shows each image.

    Raises:
        UserError: for an unknown, absent or empty data set, data sets of different classes, an
            unknown sampler, or one that cannot work with these data.
    """
    names = list(cfg.DATASETS.TRAIN)
    if not names:
        raise UserError("DATASETS.TRAIN is empty: name at least one registered data set.")
    check_datasets(names, "DATASETS.TRAIN")
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    if sampler not in _SAMPLERS:
        raise UserError(
            f"DATALOADER.SAMPLER_TRAIN is '{sampler}'; choose one of {', '.join(_SAMPLERS)}."
        )
    parts = [_load(cfg, name) for name in names]
    _check_same_classes(names)
    if cfg.DATALOADER.SOURCE_AWARE:
        parts = [[{**r, "dataset_source": k} for r in part] for k, part in enumerate(parts)]
    factors = torch.cat(_SAMPLERS[sampler](cfg, parts))
    records = [record for part in parts for record in part]
    return TrainingSet(records, factors, sampler in _WITH_REPLACEMENT)


def _load(cfg: CfgNode, name: str) -> list[dict[str, Any]]:
    keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0
    filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    try:
        records: list[dict[str, Any]] = get_detection_dataset_dicts(
            [name],
            # Detectron2 takes images of crowds alone for empty
            filter_empty=filter_empty and not cfg.INPUT.KEEP_CROWDS,
            min_keypoints=keypoints,
        )
        if filter_empty and cfg.INPUT.KEEP_CROWDS:
            records = [r for r in records if r.get("annotations")]
            assert records, "no image has an annotation"
    except FileNotFoundError as error:
        raise UserError(
            f"Data set '{name}': no file {error.filename}; put it there, or set the "
            "environment variable DETECTRON2_DATASETS to the folder of your data sets."
        ) from error
    except AssertionError as error:
        raise UserError(
            f"Data set '{name}' has no image to train on ({error}); "
            "DATALOADER.FILTER_EMPTY_ANNOTATIONS False keeps images without objects."
        ) from error
    if cfg.MODEL.MASK_ON:
        _require(records, name, "segmentation", "MODEL.MASK_ON False trains on the boxes alone")
    if cfg.MODEL.KEYPOINT_ON:
        _require(records, name, "keypoints", "MODEL.KEYPOINT_ON False trains without them")
    if cfg.MODEL.LOAD_PROPOSALS:
        # Not by Detectron2's function, which runs what the file asks for
        add_proposals(records, proposal_file(cfg, "TRAIN", name))
    return records


def _require(records: list[dict[str, Any]], name: str, key: str, cure: str) -> None:
    for record in records:
        for annotation in record.get("annotations", ()):
            if key not in annotation and not annotation.get("iscrowd", 0):
                raise UserError(
                    f"Data set '{name}': an object on {record['file_name']} has no {key}; "
                    f"{cure}, or leave such objects out."
                )


def _check_same_classes(names: list[str]) -> None:
    known = {name: MetadataCatalog.get(name).get("thing_classes") for name in names}
    first = known[names[0]]
    for name, classes in known.items():
        if first and classes and list(classes) != list(first):
            pairs = list(itertools.zip_longest(first, classes, fillvalue="nothing"))
            place = next(i for i, (a, b) in enumerate(pairs) if a != b)
            raise UserError(
                f"DATASETS.TRAIN: '{names[0]}' and '{name}' have different classes (number {place} "
                f"is '{pairs[place][0]}' in one, '{pairs[place][1]}' in the other); give their "
                "annotation files the same categories."
            )


_Parts = list[list[dict[str, Any]]]


def _each_once(cfg: CfgNode, parts: _Parts) -> list[torch.Tensor]:
    return [torch.ones(len(part)) for part in parts]


def _by_category(cfg: CfgNode, parts: _Parts) -> list[torch.Tensor]:
    # Frequencies count over all training sets together, as Detectron2 does for this sampler.
    return [_category_factors(cfg, [record for part in parts for record in part])]


def _by_dataset(cfg: CfgNode, parts: _Parts) -> list[torch.Tensor]:
    weights = dict(_value(cfg.DATASETS, "TRAIN_REPEAT_FACTOR"))
    unknown = sorted(set(weights) - set(cfg.DATASETS.TRAIN))
    if unknown:
        raise UserError(f"DATASETS.TRAIN_REPEAT_FACTOR names {unknown}, not in DATASETS.TRAIN.")
    return [
        torch.full((len(part),), float(weights.get(name, 1.0)))
        for name, part in zip(cfg.DATASETS.TRAIN, parts)
    ]


def _by_dataset_and_category(cfg: CfgNode, parts: _Parts) -> list[torch.Tensor]:
    factors = [
        weight * _category_factors(cfg, part)
        for weight, part in zip(_by_dataset(cfg, parts), parts)
    ]
    smallest = torch.cat(factors).min()
    return [factor / smallest for factor in factors]


def _random_subset(cfg: CfgNode, parts: _Parts) -> list[torch.Tensor]:
    # The subset must be the same in every process and after a resume, whatever the run's seed.
    total = sum(len(part) for part in parts)
    size = max(1, int(total * _value(cfg.DATALOADER, "RANDOM_SUBSET_RATIO")))
    generator = torch.Generator().manual_seed(max(cfg.SEED, 0))
    factors = torch.zeros(total)
    factors[torch.randperm(total, generator=generator)[:size]] = 1.0
    logger.info("Training on a random subset of %d of %d images.", size, total)
    return [factors]


def _class_aware(cfg: CfgNode, parts: _Parts) -> list[torch.Tensor]:
    weights = class_aware_weights([record for part in parts for record in part])
    if not weights.any():
        raise UserError(
            "DATALOADER.SAMPLER_TRAIN ClassAwareSampler has nothing to draw: no image of "
            f"{', '.join(cfg.DATASETS.TRAIN)} has an annotation."
        )
    return [weights]


def _multi_dataset(cfg: CfgNode, parts: _Parts) -> list[torch.Tensor]:
    if not cfg.DATALOADER.SOURCE_AWARE:
        raise UserError(
            "DATALOADER.SAMPLER_TRAIN MultiDatasetSampler needs DATALOADER.SOURCE_AWARE True."
        )
    ratio = cfg.DATALOADER.DATASET_RATIO
    if len(ratio) != len(parts) or min(ratio) < 0 or sum(ratio) <= 0:
        raise UserError(
            f"DATALOADER.DATASET_RATIO is {ratio}; it needs one number for each of the "
            f"{len(parts)} data sets of DATASETS.TRAIN, none below 0 and not all 0."
        )
    return data_set_weights([len(part) for part in parts], ratio)


def _value(node: CfgNode, name: str) -> Any:
    if name not in node:
        raise UserError(
            f"This DATALOADER.SAMPLER_TRAIN needs the key {name}, which the installed Detectron2 "
            "does not have; use TrainingSampler or RepeatFactorTrainingSampler."
        )
    return node[name]


def _category_factors(cfg: CfgNode, records: list[dict[str, Any]]) -> torch.Tensor:
    # Releases without the key REPEAT_SQRT always take the square root.
    options = {} if cfg.DATALOADER.get("REPEAT_SQRT", True) else {"sqrt": False}
    return RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        records, cfg.DATALOADER.REPEAT_THRESHOLD, **options
    )


_SAMPLERS = {
    "TrainingSampler": _each_once,
    "RepeatFactorTrainingSampler": _by_category,
    "RandomSubsetTrainingSampler": _random_subset,
    "WeightedTrainingSampler": _by_dataset,
    "WeightedCategoryTrainingSampler": _by_dataset_and_category,
    "ClassAwareSampler": _class_aware,
    "MultiDatasetSampler": _multi_dataset,
}
_WITH_REPLACEMENT = {"ClassAwareSampler", "MultiDatasetSampler"}
