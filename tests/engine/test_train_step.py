"""The end of a step's loader."""

from __future__ import annotations

import multiprocessing
from types import ModuleType

import torch

from centernet2.engine.data_loader import TrainLoader
from centernet2.engine.train_step import TrainStep


def test_closing_ends_the_loader_processes(tiny: ModuleType) -> None:
    records = [{"file_name": f"{i}.png", "width": 4, "height": 4} for i in range(8)]
    loader = TrainLoader(
        records,
        dict,
        repeat_factors=torch.ones(len(records)),
        batch_size=2,
        num_workers=2,
    )
    model = torch.nn.Linear(1, 1)
    step = TrainStep(
        model, loader, torch.optim.SGD(model.parameters(), 0.1), device=torch.device("cpu")
    )
    before = set(multiprocessing.active_children())
    assert len(step._next_batch()) == 2
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 2
    step.close()
    assert not started & set(multiprocessing.active_children())
    step.close()
