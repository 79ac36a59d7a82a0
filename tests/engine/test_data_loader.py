from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.engine import build_cfg
from centernet2.engine.data_loader import (
    BatchSampler,
    TrainLoader,
    build_train_loader,
    sample_stream,
)
from centernet2.errors import UserError


def take(iterable: Any, number: int) -> list[Any]:
    return list(itertools.islice(iterable, number))


def test_every_epoch_shows_every_image_once_in_a_new_order() -> None:
    stream = sample_stream(torch.ones(20), seed=1)
    epochs = [take(stream, 20) for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert take(sample_stream(torch.ones(20), 1), 20) == epochs[0]
    assert take(sample_stream(torch.ones(20), 2), 20) != epochs[0]


def test_repeat_factors_are_met_on_average() -> None:
    factors = torch.tensor([1.0, 2.5, 0.0, 1.25])
    counts = Counter(take(sample_stream(factors, 0), 4750))  # 1000 epochs of 4.75 images
    assert counts[2] == 0
    for index, factor in enumerate(factors.tolist()):
        assert counts[index] == pytest.approx(1000 * factor, abs=60)


def test_drawing_with_replacement_meets_the_exact_distribution() -> None:
    weights = torch.tensor([0.5, 0.0, 3.0, 1.0, 0.01], dtype=torch.float64)
    number = 40_000
    counts = Counter(take(sample_stream(weights, 0, replacement=True), number))
    assert counts[1] == 0
    for index, weight in enumerate((weights / weights.sum()).tolist()):
        spread = (number * weight * (1 - weight)) ** 0.5
        assert abs(counts[index] - number * weight) <= 4 * spread
    # Draws are independent: a pair follows from its parts, within a round and across rounds.
    stream = take(sample_stream(weights, 1, replacement=True), number)
    pairs = Counter(zip(stream, stream[1:]))
    chance = (3.0 / 4.51) ** 2
    assert abs(pairs[2, 2] - number * chance) <= 6 * (number * chance) ** 0.5


def test_small_weights_among_many_images_are_not_swallowed() -> None:
    """The last of a million images are drawn as their weights say; float32 sums would not."""
    size, tail = 1_000_000, 100_000
    weights = torch.ones(size)
    weights[-tail:] = 1e-2
    drawn = torch.tensor(take(sample_stream(weights, 0, replacement=True), size))
    expected = size * tail * 1e-2 / float(weights.double().sum())
    assert abs(int((drawn >= size - tail).sum()) - expected) <= 4 * expected**0.5


def test_drawing_resumes_exactly_and_is_shared_by_processes() -> None:
    weights = torch.rand(13)
    groups = [i % 2 for i in range(13)]

    def batches(start: int = 0, rank: int = 0, world: int = 1) -> BatchSampler:
        return BatchSampler(weights, groups, 4, 9, start, rank, world, replacement=True)

    whole = take(batches(), 40)
    for start in (1, 7, 33):
        assert take(batches(start), 40 - start) == whole[start:]
    for world in (2, 4):
        parts = [take(batches(5, rank, world), 20) for rank in range(world)]
        assert [list(itertools.chain(*pieces)) for pieces in zip(*parts)] == whole[5:25]
    for batch in whole:
        assert len({groups[index] for index, _ in batch}) == 1


@pytest.mark.parametrize("grouped", [False, True])
def test_parts_of_all_processes_are_the_batch_of_one(grouped: bool) -> None:
    groups = [i % 3 == 0 if grouped else 0 for i in range(17)]
    whole = take(BatchSampler(torch.ones(17), groups, 6, seed=3), 25)
    for world_size in (2, 3, 6):
        parts = [
            take(BatchSampler(torch.ones(17), groups, 6, 3, 0, rank, world_size), 25)
            for rank in range(world_size)
        ]
        assert [list(itertools.chain(*pieces)) for pieces in zip(*parts)] == whole


def test_starting_later_skips_exactly_the_batches_before() -> None:
    groups = [i % 2 for i in range(11)]
    whole = take(BatchSampler(torch.full((11,), 1.5), groups, 4, seed=9), 40)
    for start in (1, 7, 33):
        later = BatchSampler(torch.full((11,), 1.5), groups, 4, 9, start)
        assert take(later, 40 - start) == whole[start:]
    for batch in whole:
        assert len({groups[index] for index, _ in batch}) == 1
    places = [place for batch in whole for _, place in batch]
    assert len(set(places)) == len(places)


def records(number: int) -> list[dict[str, Any]]:
    return [
        {
            "file_name": f"{i}.png",
            "image_id": i,
            "width": 10 + i % 2,
            "height": 10,
            "annotations": [],
        }
        for i in range(number)
    ]


def draw(record: dict[str, Any]) -> tuple[int, float, float, float]:
    return record["image_id"], random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def loader(
    mapper: Any = draw, workers: int = 0, number: int = 10, max_broken: int = 0
) -> TrainLoader:
    return TrainLoader(
        records(number),
        mapper,
        repeat_factors=torch.ones(number),
        batch_size=2,
        num_workers=workers,
        max_broken=max_broken,
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_augmentation_does_not_depend_on_workers_nor_on_the_start(workers: int) -> None:
    alone = loader()
    alone.start_at(seed=5, batch=0)
    whole = take(alone, 12)
    shared = loader(workers=workers)
    shared.start_at(seed=5, batch=4)
    assert take(shared, 8) == whole[4:]
    draws = [sample[1:] for batch in whole for sample in batch]
    assert len(set(draws)) == len(draws)


def test_rejected_images_are_replaced_by_others() -> None:
    odd = loader(lambda record: None if record["image_id"] % 2 == 0 else record["image_id"])
    assert {sample for batch in take(odd, 20) for sample in batch} == {1, 3, 5, 7, 9}
    with pytest.raises(UserError, match="10 training images in a row .*: the data set mapper reje"):
        take(loader(lambda _: None), 1)


def failing(*broken: int) -> Any:
    def mapper(record: dict[str, Any]) -> Any:
        if record["image_id"] in broken:
            raise OSError("truncated file")
        return draw(record)

    return mapper


def test_data_without_a_good_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"10 training images .*of them \d\.png: truncated file\."):
        take(loader(failing(*range(10)), max_broken=-1), 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_replaced_named_and_counted_once(
    workers: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = loader(failing(2, 3), workers=workers, max_broken=2)
    drawn = [sample[0] for batch in take(images, 40) for sample in batch]
    assert set(drawn) == {0, 1, 4, 5, 6, 7, 8, 9}
    # Image 4 comes in place of both
    assert drawn.count(4) == pytest.approx(3 * drawn.count(5), rel=0.5)
    assert len(images.broken) == 2
    name = "centernet2.engine.broken_images"
    assert sorted(record.message for record in caplog.records if record.name == name) == [
        f"{i}.png cannot be used: truncated file. Training takes the next image instead."
        for i in (2, 3)
    ]
    images.broken.report()
    assert caplog.records[-1].message.startswith("Images that could not be used: 2 (")


def test_more_broken_images_than_allowed_end_the_run() -> None:
    with pytest.raises(
        UserError, match=r"truncated file\. .* so far: 3; .*MAX_BROKEN_IMAGES allows 2;"
    ):
        take(loader(failing(1, 3, 5), max_broken=2), 40)
    with pytest.raises(UserError, match=r"^3\.png cannot be used: truncated file\. .*allows 0;"):
        take(loader(failing(3), max_broken=0), 40)


def test_a_resumed_run_replaces_broken_images_alike() -> None:
    whole = loader(failing(2, 3, 7), max_broken=-1)
    whole.start_at(seed=5, batch=0)
    expected = take(whole, 30)
    for start, workers in ((1, 0), (11, 2)):
        later = loader(failing(2, 3, 7), workers=workers, max_broken=-1)
        later.start_at(seed=5, batch=start)
        assert take(later, 30 - start) == expected[start:]


def test_a_broken_mapper_is_not_taken_for_a_broken_image() -> None:
    def mapper(record: dict[str, Any]) -> Any:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        take(loader(mapper), 1)


@pytest.fixture
def two_sets() -> Any:
    """The set "few" has 4 images of a rare class, "many" 12 of a common one."""
    sets = {"few": (4, 0), "many": (12, 1)}
    for name, (number, label) in sets.items():
        data = [
            {**record, "annotations": [{"category_id": label, "iscrowd": 0}]}
            for record in records(number)
        ]
        DatasetCatalog.register(name, lambda data=data: data)
        MetadataCatalog.get(name).thing_classes = ["rare", "common"]
    yield
    for name in sets:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def config(*overrides: str) -> Any:
    return build_cfg(
        overrides=["DATASETS.TRAIN", "('few', 'many')", "SOLVER.IMS_PER_BATCH", "2", *overrides]
    )


def built(*overrides: str) -> TrainLoader:
    return build_train_loader(config(*overrides))


@pytest.mark.parametrize(
    ("overrides", "few", "many"),
    [
        ((), 1.0, 1.0),
        (("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler",
          "DATALOADER.REPEAT_THRESHOLD", "0.5"), 2**0.5, 1.0),
    ],
)  # fmt: skip
def test_samplers_of_detectron2(
    two_sets: None, overrides: tuple[str, ...], few: float, many: float
) -> None:
    factors = built(*overrides)._repeat_factors
    torch.testing.assert_close(factors, torch.tensor([few] * 4 + [many] * 12))


def test_random_subset_is_fixed(two_sets: None) -> None:
    cfg = config("DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler")
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.25  # some releases of Detectron2 lack the key
    first, second = (build_train_loader(cfg)._repeat_factors for _ in range(2))
    assert first.sum() == 4
    assert torch.equal(first, second)


def test_weighted_samplers(two_sets: None) -> None:
    cfg = config("DATALOADER.SAMPLER_TRAIN", "WeightedTrainingSampler",
                 "DATALOADER.REPEAT_THRESHOLD", "0.5")  # fmt: skip
    cfg.DATASETS.TRAIN_REPEAT_FACTOR = [("few", 3.0)]
    expected = torch.tensor([3.0] * 4 + [1.0] * 12)
    torch.testing.assert_close(build_train_loader(cfg)._repeat_factors, expected)
    # each set has one class, so frequencies counted in a set alone change nothing
    cfg.DATALOADER.SAMPLER_TRAIN = "WeightedCategoryTrainingSampler"
    torch.testing.assert_close(build_train_loader(cfg)._repeat_factors, expected)
    cfg.DATASETS.TRAIN_REPEAT_FACTOR = [("fex", 3.0)]
    with pytest.raises(UserError, match="TRAIN_REPEAT_FACTOR names"):
        build_train_loader(cfg)


def images_shown(loader: TrainLoader, batches: int) -> list[dict[str, Any]]:
    loader._mapper = lambda record: record
    loader._num_workers = 0
    loader.start_at(seed=0, batch=0)
    return [record for batch in take(loader, batches) for record in batch]


def test_class_aware_sampler_shows_each_class_as_often(two_sets: None) -> None:
    shown = images_shown(built("DATALOADER.SAMPLER_TRAIN", "ClassAwareSampler"), 3000)
    rare = sum(record["annotations"][0]["category_id"] == 0 for record in shown)
    assert abs(rare - 3000) <= 4 * (6000 * 0.25) ** 0.5


@pytest.mark.parametrize("ratio", ["[1, 1]", "[1, 3]"])
def test_multi_dataset_sampler_shows_sets_in_their_ratio(two_sets: None, ratio: str) -> None:
    loader = built("DATALOADER.SAMPLER_TRAIN", "MultiDatasetSampler", "DATALOADER.SOURCE_AWARE",
                   "True", "DATALOADER.DATASET_RATIO", ratio)  # fmt: skip
    shown = images_shown(loader, 3000)
    few = sum(record["dataset_source"] == 0 for record in shown)
    share = {"[1, 1]": 0.5, "[1, 3]": 0.25}[ratio]
    assert abs(few - 6000 * share) <= 4 * (6000 * share * (1 - share)) ** 0.5
    for record in shown:
        assert record["annotations"][0]["category_id"] == record["dataset_source"]


def test_records_know_their_data_set_only_on_demand(two_sets: None) -> None:
    assert all("dataset_source" not in r for r in images_shown(built(), 8))
    sources = [r["dataset_source"] for r in images_shown(built("DATALOADER.SOURCE_AWARE=True"), 8)]
    assert sorted(sources) == [0] * 4 + [1] * 12
    assert all("dataset_source" not in r for r in DatasetCatalog.get("few"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "MultiDatasetSampler needs DATALOADER.SOURCE_AWARE True"),
        (("DATALOADER.SOURCE_AWARE=True", "DATALOADER.DATASET_RATIO=[1]"),
         r"DATASET_RATIO is \[1\]; it needs one number for each of the 2 data sets"),
        (("DATALOADER.SOURCE_AWARE=True", "DATALOADER.DATASET_RATIO=[1, -1]"), "none below 0"),
        (("DATALOADER.SOURCE_AWARE=True", "DATALOADER.DATASET_RATIO=[0, 0]"), "not all 0"),
    ],
)  # fmt: skip
def test_mistakes_with_data_set_ratios(
    two_sets: None, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        built("DATALOADER.SAMPLER_TRAIN", "MultiDatasetSampler", *overrides)


def test_class_aware_sampler_needs_annotations(two_sets: None) -> None:
    DatasetCatalog.register("bare", lambda: records(3))
    try:
        with pytest.raises(UserError, match="nothing to draw: no image of bare has"):
            built("DATASETS.TRAIN", "('bare',)", "DATALOADER.SAMPLER_TRAIN", "ClassAwareSampler",
                  "DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False")  # fmt: skip
    finally:
        DatasetCatalog.remove("bare")
        MetadataCatalog.remove("bare")


def test_training_sets_of_different_classes_are_refused(two_sets: None) -> None:
    MetadataCatalog.remove("many")
    MetadataCatalog.get("many").thing_classes = ["rare", "usual", "odd"]
    with pytest.raises(UserError, match=r"\(number 1 is 'common' in one, 'usual' in the other\)"):
        built()


def test_sampler_whose_key_this_detectron2_lacks(two_sets: None) -> None:
    cfg = config("DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler")
    cfg.DATALOADER.pop("RANDOM_SUBSET_RATIO", None)
    with pytest.raises(UserError, match="needs the key RANDOM_SUBSET_RATIO"):
        build_train_loader(cfg)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["DATASETS.TRAIN", "('fewer',)"], "no data set 'fewer' is registered; did you mean 'few'"),
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["DATALOADER.SAMPLER_TRAIN", "Magic"], "choose one of TrainingSampler, Repeat"),
        (["SOLVER.IMS_PER_BATCH", "0"], "SOLVER.IMS_PER_BATCH is 0"),
    ],
)
def test_mistakes_in_the_config(two_sets: None, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(*overrides)


def test_batch_that_processes_cannot_share(two_sets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 4)
    with pytest.raises(UserError, match=r"multiple of the number of processes \(4\)"):
        built()


def test_set_without_usable_images(two_sets: None) -> None:
    DatasetCatalog.register("empty", lambda: records(3))
    MetadataCatalog.get("empty").thing_classes = ["rare", "common"]
    try:
        with pytest.raises(UserError, match=r"FILTER_EMPTY_ANNOTATIONS False"):
            built("DATASETS.TRAIN", "('empty',)")
        kept = built("DATASETS.TRAIN", "('empty',)", "DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False")
        assert len(kept._repeat_factors) == 3
    finally:
        DatasetCatalog.remove("empty")
        MetadataCatalog.remove("empty")
