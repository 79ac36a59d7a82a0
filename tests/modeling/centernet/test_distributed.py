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


def run_rank(rank: int, port: int, cfg: Any, batch: list[dict[str, Any]], folder: str) -> None:
    import centernet2  # noqa: F401

    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    result = losses_and_gradients(cfg, batch[rank : rank + 1])
    for value in result.values():
        dist.all_reduce(value)
        value /= 2
    if rank == 0:
        torch.save(result, os.path.join(folder, "result.pt"))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("counts", [[3, 6], [4, 0]], ids=["objects", "none in one process"])
def test_losses_do_not_depend_on_the_number_of_processes(
    counts: list[int], load_config: Any, make_batch: Any, tmp_path: Path
) -> None:
    cfg = load_config("CenterNet-FPN_R50_1x.yaml", "MODEL.RESNETS.NORM", "FrozenBN")
    batch = make_batch(counts, num_classes=80)
    expected = losses_and_gradients(cfg, batch)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(run_rank, (port, cfg, batch, str(tmp_path)), nprocs=2)

    found = torch.load(tmp_path / "result.pt")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)
