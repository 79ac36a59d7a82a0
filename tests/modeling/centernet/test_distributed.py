"""Two processes with an image each have the losses and gradients of one process with both."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventStorage


def losses_and_gradients(cfg: Any, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = build_model(cfg).train()
    with EventStorage(0):
        losses = model(batch)
    sum(losses.values()).backward()
    result = {name: value.detach() for name, value in losses.items()}
    result.update(
        {f"gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    )
    return result


Batch = list[dict[str, Any]]


def run_rank(rank: int, port: int, cfg: Any, batches: dict[str, Batch], folder: str) -> None:
    import centernet2  # noqa: F401

    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    results = {}
    for case, batch in batches.items():
        results[case] = losses_and_gradients(cfg, batch[rank : rank + 1])
        for value in results[case].values():
            dist.all_reduce(value)
            value /= 2
    if rank == 0:
        torch.save(results, os.path.join(folder, "results.pt"))
    dist.destroy_process_group()


@pytest.mark.slow
def test_losses_do_not_depend_on_the_number_of_processes(
    load_config: Any, make_batch: Any, tmp_path: Path
) -> None:
    cfg = load_config("CenterNet-FPN_R50_1x.yaml", "MODEL.RESNETS.NORM", "FrozenBN")
    counts = {"objects": [3, 6], "none in one process": [4, 0]}
    batches = {case: make_batch(numbers, num_classes=80) for case, numbers in counts.items()}

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(run_rank, (port, cfg, batches, str(tmp_path)), nprocs=2)

    results = torch.load(tmp_path / "results.pt")
    assert results.keys() == batches.keys()
    for case, found in results.items():
        expected = losses_and_gradients(cfg, batches[case])
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            message = f"{case}: {name}"
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=message)
