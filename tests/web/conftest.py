"""The page served in this process, and a headless Chromium that looks at it."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from centernet2 import Detections, Detector
from centernet2.inference.excerpt import Excerpt
from centernet2.inference.video import VideoReader
from centernet2.web.results import LOWEST_SCORE
from centernet2.web.server import build_app, open_socket, private_folder, require_gradio
from centernet2.web.uploads import Limits

from .browser import Browser, program

LIMITS = Limits(upload_mb=2, video_seconds=12, megapixels=2)


class Site:
    """A page that is being served."""

    def __init__(self, address: str, folder: Path, looked_up: list[str]) -> None:
        self.address, self.folder = address, folder
        self.looked_up = looked_up  # hosts that this process has asked for the address of


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The shipped model, as the page runs it."""
    return Detector("pedestrian", device="cpu", score_thresh=LOWEST_SCORE)


class Twin:
    """The same model, which calls every second object a rider."""

    class_names = ("person", "rider")

    def __init__(self, real: Detector) -> None:
        self._real, self.predictor = real, real.predictor

    def __call__(self, image: Path) -> list[Detections]:
        return list(map(self._renamed, self._real(image)))

    def stream(self, video: Path, excerpt: Excerpt) -> Iterator[Detections]:
        return map(self._renamed, self._real.stream(video, excerpt=excerpt))

    def _renamed(self, found: Detections) -> Detections:
        names = {"class_names": self.class_names, "category_ids": (1, 2)}
        return dataclasses.replace(found, labels=np.arange(len(found)) % 2, **names)


@pytest.fixture(scope="session")
def site(detector: Detector) -> Iterator[Site]:
    """The page with the shipped model and its twin, on a free port."""
    pytest.importorskip("gradio", reason="the extra is absent: pip install 'centernet2[web]'")
    import uvicorn

    looked_up: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, *rest: Any, **named: Any) -> Any:
        looked_up.append(str(host))
        return real(host, *rest, **named)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "getaddrinfo", look_up)
    require_gradio()
    with private_folder() as folder, open_socket("127.0.0.1", 0) as listening:
        models = {"pedestrian": detector, "twin": Twin(detector)}
        app = build_app(models, LIMITS, folder, "127.0.0.1")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Site(f"http://127.0.0.1:{listening.getsockname()[1]}", folder, looked_up)
        server.should_exit = server.force_exit = True
        thread.join(30)
    patch.undo()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium; the test skips where there is none."""
    chromium = program()
    if chromium is None:
        pytest.skip("there is no chromium here")
    started = Browser(chromium, tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def frame(street_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a picture of the street video, by its number, to a file of a name."""
    folder = tmp_path_factory.mktemp("frame")

    def write(name: str, number: int) -> Path:
        with VideoReader(street_video, Excerpt(Fraction(number, 25))) as reader:
            Image.fromarray(next(iter(reader)).image).save(folder / name)
        return folder / name

    return write
