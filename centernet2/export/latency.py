"""How long runtimes take for an image, beside the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from centernet2.benchmarks.timing import Step, machine, measure, ratio, summary
from centernet2.export.parity import model_outputs
from centernet2.export.runtimes import ExportedFile
from centernet2.inference.predictor import Predictor

__all__ = ["compare_latency"]


def compare_latency(
    predictor: Predictor,
    files: Sequence[ExportedFile],
    pixels: npt.NDArray[np.uint8],
    repeat: int,
) -> dict[str, Any]:
    """Time the model and files on one image, in turns, with post-processing.

    Args:
        predictor: the model.
        files: exported from it, of different runtimes.
        pixels: ``(H, W, 3)`` RGB, in the size that the files take.
        repeat: rounds.

    Returns:
        The machine, the image's size, and for each runtime the seconds by the clock and of the
        processor, in all threads together, with the ratio to PyTorch's.
    """
    model = f"PyTorch {torch.__version__}"
    steps: dict[str, Step] = {model: lambda _: model_outputs(predictor, pixels)}
    for file in files:
        steps[file.runtime] = lambda _, file=file: file(pixels)  # type: ignore[misc]
    times = measure(steps, repeat)
    peer = times[model]
    return {
        "machine": machine(),
        "size": list(pixels.shape[:2]),
        "runtimes": {
            name: {
                **summary(taken.wall),
                "processor_median_s": summary(taken.process)["median_s"],
                "ratio_to_pytorch": ratio(taken.wall, peer.wall),
            }
            for name, taken in times.items()
        },
    }
