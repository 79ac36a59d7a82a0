from __future__ import annotations

import pytest
import torch

from centernet2.benchmarks.memory import peak_bytes

MB = 1 << 20


def hold(megabytes: int) -> object:
    return lambda i: torch.ones(megabytes * MB, dtype=torch.uint8)


@pytest.mark.slow
def test_peak_is_that_of_the_step_alone() -> None:
    ballast = torch.ones(600 * MB, dtype=torch.uint8)  # this process's own memory does not count
    peak = peak_bytes(hold, (300,)) / MB
    assert 290 < peak < 380
    assert len(ballast)
