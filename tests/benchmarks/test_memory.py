from __future__ import annotations

import os

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


def allocate_in_pieces(megabytes: int) -> object:
    """Of 20 MB, of which small ones between them stay."""
    stay = []

    def step(i: int) -> None:
        pieces = []
        for _ in range(megabytes // 20):
            pieces.append(torch.ones(20 * MB, dtype=torch.uint8))
            stay.append(torch.ones(5000, dtype=torch.uint8))
        pieces.clear()
        if i == 1:
            stay.append(torch.ones(megabytes * MB, dtype=torch.uint8))

    return step


@pytest.mark.slow
def test_freed_pieces_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "5")
    peak = peak_bytes(allocate_in_pieces, (400,)) / MB
    assert 390 < peak < 500
    assert os.environ["MALLOC_TRIM_THRESHOLD_"] == "5"
    assert "MALLOC_MMAP_THRESHOLD_" not in os.environ
