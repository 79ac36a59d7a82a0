"""A training data loader that can start at any batch and then goes on exactly as if it had run.

Which images make up batch ``i`` follows from the seed alone, so a resumed run skips the indices
of the batches already seen without reading an image. Each sample carries its place in the stream,
which seeds its augmentation, so the number of workers and of processes does not change the data.
In place of an image that cannot be read comes the next one of the data set that can: that too
follows from the sample alone, and a resumed run finds the same.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data.common import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from centernet2.data.keypoint_mapper import training_mapper
from centernet2.engine.broken_images import BrokenImage, BrokenImages, map_or_broken
from centernet2.engine.loading_processes import deaths_told, packed
from centernet2.engine.seeding import derive_seed, seed_generators
from centernet2.engine.training_set import load_training_set
from centernet2.errors import UserError

__all__ = ["BatchSampler", "TrainLoader", "build_train_loader", "sample_stream"]

logger = logging.getLogger(__name__)

Mapper = Callable[[dict[str, Any]], Any]
# Index of an image in the data set, and the sample's place in the infinite stream.
Sample = tuple[int, int]

_REPLACEMENTS = 10  # images tried in place of one that the mapper rejects


def sample_stream(
    repeat_factors: torch.Tensor, seed: int, replacement: bool = False
) -> Iterator[int]:
    """Image indices without end: one shuffled epoch after the other.

    Args:
        repeat_factors: (images,) how often an image appears in an epoch on average; the
            fractional part is rounded at random anew in each epoch.
        seed: equal seeds give equal streams.
        replacement: instead, draw each index on its own with probabilities in proportion to
            ``repeat_factors``.
    """
    if replacement:
        yield from _drawn_stream(repeat_factors, seed)
        return
    whole = repeat_factors.trunc()
    fraction = repeat_factors - whole
    for epoch in itertools.count():
        generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
        extra = torch.rand(len(fraction), generator=generator) < fraction
        indices = torch.arange(len(whole)).repeat_interleave((whole + extra).long())
        yield from indices[torch.randperm(len(indices), generator=generator)].tolist()


def _drawn_stream(weights: torch.Tensor, seed: int) -> Iterator[int]:
    # float64: the sum over a million images would swallow single weights in float32.
    weights = weights.double()
    for drawing in itertools.count():
        generator = torch.Generator().manual_seed(derive_seed(seed, drawing))
        yield from torch.multinomial(weights, len(weights), True, generator=generator).tolist()


class BatchSampler(Sampler[list[Sample]]):
    """This process's part of each global batch, from ``start_batch`` on, without end.

    Args:
        repeat_factors: see :func:`sample_stream`.
        groups: for each image, the group it may share a batch with (its orientation).
        batch_size: images of a batch over all processes; a multiple of ``world_size``.
        seed: see :func:`sample_stream`.
        start_batch: batches to skip.
        rank: number of this process.
        world_size: number of processes. The parts of all processes together are the batch that
            a single process would get.
        replacement: see :func:`sample_stream`.
    """

    def __init__(
        self,
        repeat_factors: torch.Tensor,
        groups: Sequence[int],
        batch_size: int,
        seed: int,
        start_batch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        replacement: bool = False,
    ) -> None:
        self._repeat_factors = repeat_factors
        self._replacement = replacement
        self._groups = groups
        self._batch_size = batch_size
        self._seed = seed
        self._start_batch = start_batch
        share = batch_size // world_size
        self._part = slice(rank * share, (rank + 1) * share)

    def __iter__(self) -> Iterator[list[Sample]]:
        for batch in itertools.islice(self._global_batches(), self._start_batch, None):
            yield batch[self._part]

    def _global_batches(self) -> Iterator[list[Sample]]:
        waiting: dict[int, list[Sample]] = defaultdict(list)
        stream = sample_stream(self._repeat_factors, self._seed, self._replacement)
        for place, index in enumerate(stream):
            group = self._groups[index]
            waiting[group].append((index, place))
            if len(waiting[group]) == self._batch_size:
                yield waiting.pop(group)


@dataclass(frozen=True)
class _Loaded:
    """A sample, and the images that could not be read on the way to it.

    Attributes:
        sample: of the mapper; None if none was found.
        broken: those images.
    """

    sample: Any
    broken: tuple[BrokenImage, ...]


class _SeededSamples(Dataset[Any]):
    """Maps data set dicts with generators seeded by each sample's place in the stream."""

    def __init__(self, dataset: Dataset[Any], mapper: Mapper, seed: int) -> None:
        self._dataset = dataset
        self._mapper = mapper
        self._seed = seed

    def __getitem__(self, sample: Sample) -> _Loaded:
        index, place = sample
        seed_generators(derive_seed(self._seed, place, 1))
        size = len(self._dataset)  # type: ignore[arg-type]
        broken = []
        for attempt in range(_REPLACEMENTS):
            mapped = map_or_broken(self._mapper, self._dataset[(index + attempt) % size])
            if isinstance(mapped, BrokenImage):
                broken.append(mapped)
            elif mapped is not None:
                return _Loaded(mapped, tuple(broken))
        return _Loaded(None, tuple(broken))


class TrainLoader:
    """Iterable over lists of mapped samples; see the module's description.

    Args:
        records: Detectron2 data set dicts.
        mapper: turns a dict into the model's input, or into None to take another image.
        repeat_factors: (images,) see :func:`sample_stream`.
        batch_size: images of a batch over all processes.
        aspect_ratio_grouping: whether a batch holds only landscape or only portrait images.
        num_workers: loading processes; 0 loads in this one.
        replacement: see :func:`sample_stream`.
        max_broken: images that this process may find unreadable; negative: any number. They are
            counted in ``broken``.
    """

    def __init__(
        self,
        records: list[dict[str, Any]],
        mapper: Mapper,
        *,
        repeat_factors: torch.Tensor,
        batch_size: int,
        aspect_ratio_grouping: bool = True,
        num_workers: int = 0,
        replacement: bool = False,
        max_broken: int = 0,
    ) -> None:
        self.broken = BrokenImages(max_broken, "Training takes the next image instead.")
        self._groups = [
            int(aspect_ratio_grouping and r.get("width", 0) > r.get("height", 0)) for r in records
        ]
        # Serialised: a list of dicts would be copied page by page into every worker.
        self._dataset = DatasetFromList(records, copy=False)
        self._mapper = mapper
        self._repeat_factors = repeat_factors
        self._replacement = replacement
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._seed = 0
        self._start_batch = 0

    def start_at(self, seed: int, batch: int) -> None:
        """Choose where the next iteration over this loader begins.

        Args:
            seed: of the order and of the augmentation.
            batch: number of batches to skip.
        """
        self._seed = seed
        self._start_batch = batch

    def __iter__(self) -> Iterator[list[Any]]:
        sampler = BatchSampler(
            self._repeat_factors,
            self._groups,
            self._batch_size,
            self._seed,
            self._start_batch,
            comm.get_rank(),
            comm.get_world_size(),
            self._replacement,
        )
        loader: DataLoader[Any] = DataLoader(
            _SeededSamples(self._dataset, self._mapper, self._seed),
            batch_sampler=sampler,
            num_workers=self._num_workers,
            collate_fn=packed if self._num_workers else _as_list,
            worker_init_fn=_leave_signals_to_parent,
        )
        unpack = pickle.loads if self._num_workers else None
        for batch in deaths_told(loader, self._num_workers, unpack):
            for loaded in batch:
                for image in loaded.broken:
                    self.broken.add(image)
                if loaded.sample is None:
                    raise UserError(_nothing_to_train(loaded.broken))
            yield [loaded.sample for loaded in batch]


def _nothing_to_train(broken: tuple[BrokenImage, ...]) -> str:
    said = f"{_REPLACEMENTS} training images in a row cannot be used"
    if not broken:
        return f"{said}: the data set mapper rejected them."
    return f"{said}, the last of them {broken[-1].file}: {broken[-1].reason}."


def _as_list(batch: list[Any]) -> list[Any]:
    return batch


def _leave_signals_to_parent(_: int) -> None:
    # A scheduler or Ctrl-C signals the whole group; the parent needs its workers to finish the
    # iteration before it saves, and it ends them itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def build_train_loader(cfg: CfgNode, mapper: Mapper | None = None) -> TrainLoader:
    """The training loader of a config.

    Args:
        cfg: reads DATASETS.TRAIN, DATALOADER, INPUT and SOLVER.IMS_PER_BATCH.
        mapper: default: :func:`training_mapper`.

    Raises:
        UserError: for a data set that is unknown, absent or empty, an unknown sampler, or a
            batch that the processes cannot share evenly.
    """
    world_size = comm.get_world_size()
    batch_size = cfg.SOLVER.IMS_PER_BATCH
    if batch_size < 1 or batch_size % world_size:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {batch_size}; it must be a multiple of the number of "
            f"processes ({world_size})."
        )
    training_set = load_training_set(cfg)
    return TrainLoader(
        training_set.records,
        mapper or training_mapper(cfg),
        repeat_factors=training_set.factors,
        batch_size=batch_size,
        aspect_ratio_grouping=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        replacement=training_set.replacement,
        max_broken=cfg.DATALOADER.MAX_BROKEN_IMAGES,
    )
