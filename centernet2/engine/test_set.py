"""The images of a data set to evaluate on, one at a time, without those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, get_detection_dataset_dicts

from centernet2.data.mapper import DetectionMapper
from centernet2.engine.broken_images import BrokenImage, BrokenImages, map_or_broken
from centernet2.engine.loading_processes import deaths_told
from centernet2.engine.proposal_files import add_proposals, proposal_file

__all__ = ["TestLoader", "build_test_loader"]


class _Readable:
    """A mapper whose failures travel instead of its results; workers take it by pickling."""

    def __init__(self, mapper: DetectionMapper) -> None:
        self._mapper = mapper

    def __call__(self, record: dict[str, Any]) -> Any:
        return map_or_broken(self._mapper, record)


class TestLoader:
    """Detectron2's loader, which leaves out images that cannot be read and counts them.

    Their objects count as missed, so that a measurement never gains by a broken file.
    """

    __test__ = False  # no test, whatever pytest takes its name for

    def __init__(self, loader: Any, limit: int) -> None:
        self._loader = loader
        self._limit = limit

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        broken = BrokenImages(self._limit, "It is evaluated as if nothing were found on it.")
        for batch in deaths_told(self._loader, self._loader.num_workers):
            for sample in batch:
                if isinstance(sample, BrokenImage):
                    broken.add(sample)
            readable = [sample for sample in batch if not isinstance(sample, BrokenImage)]
            if readable:
                yield readable
        broken.report()


def build_test_loader(cfg: CfgNode, name: str) -> TestLoader:
    """The loader of a registered data set, one image at a time, with INPUT.TEST_INPUT_TYPE's size.

    Args:
        cfg: reads INPUT, DATALOADER and, with MODEL.LOAD_PROPOSALS, DATASETS.PROPOSAL_FILES_TEST.
        name: one of DATASETS.TEST.

    Raises:
        UserError: see :func:`~centernet2.engine.proposal_files.add_proposals`.
    """
    records = get_detection_dataset_dicts(name, filter_empty=False)
    if cfg.MODEL.LOAD_PROPOSALS:
        add_proposals(records, proposal_file(cfg, "TEST", name))
    loader = build_detection_test_loader(
        records,
        mapper=_Readable(DetectionMapper(cfg, is_train=False)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    return TestLoader(loader, cfg.DATALOADER.MAX_BROKEN_IMAGES)
