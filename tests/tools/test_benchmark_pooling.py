"""What is timed computes the same; the table has a row for each."""

from __future__ import annotations

import pytest
import torch

import benchmark_pooling


def test_the_contestants_compute_the_same() -> None:
    x = torch.rand(1, 3, 7, 9)
    parties = benchmark_pooling.contestants(3, "cpu")
    names = {"bottom": 1, "top": 0, "right": 3, "left": 2}  # places among ours
    for other in ("torch.cummax", "loop over lines"):
        for ours, theirs in zip(names.values(), parties[other]):
            assert torch.equal(parties["corner pooling"][ours](x), theirs(x))


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--channels", "2", "--size", "5", "--rounds", "1"]
    assert benchmark_pooling.main(sizes) == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("(1, 2, 5, 5), float32")
    assert head.split() == ["forward", "forward", "and", "backward"]
    assert [row[:16].strip() for row in rows] == [
        "corner pooling", "torch.cummax", "loop over lines", "center pooling", "3x3 convolution",
    ]  # fmt: skip
    assert all(float(number) >= 0 for row in rows for number in row[16:].split())


def test_mistakes_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark_pooling.main(["--rounds", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: --batch, --channels")
    if not torch.cuda.is_available():
        assert benchmark_pooling.main(["--device", "cuda"]) == 2
        assert "no GPU" in capsys.readouterr().err
