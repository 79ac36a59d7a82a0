from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the extra is absent: pip install 'centernet2[web]'")

from centernet2.cli import web
from centernet2.web.results import LOWEST_SCORE
from centernet2.web.uploads import Limits

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be served; Ctrl-C comes at once."""
    calls: list[Any] = []

    def serve(models: dict[str, Any], limits: Limits, listening: socket.socket) -> None:
        calls.append((models, limits, listening.getsockname()))
        raise KeyboardInterrupt

    monkeypatch.setattr(web, "serve", serve)
    return calls


def test_page_is_local_with_the_shipped_model(
    run: Run, served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where no weights were fetched to
    status, printed, _ = run("web", "--port", 0, "--device", "cpu")
    assert (status, printed) == (0, "ended\n")
    ((models, limits, (host, port)),) = served
    assert list(models) == ["pedestrian"]
    assert models["pedestrian"].predictor.threshold == LOWEST_SCORE
    assert limits == Limits()
    assert host == "127.0.0.1"
    assert port > 0


def test_options_reach_the_page(run: Run, served: list[Any], model: Path) -> None:
    options = ["--max-upload-mb", 7, "--max-video-seconds", 9, "--device", "cpu"]
    status, _, said = run(
        "web", model, model, "pedestrian", "--host", "0.0.0.0", "--port", 0, *options
    )
    assert status == 0
    (warning,) = (line for line in said.splitlines() if line.startswith("warning: "))
    assert warning.startswith("warning: with --host 0.0.0.0 ")
    assert "everyone who reaches this machine" in warning
    ((models, limits, (host, _)),) = served
    assert list(models) == [str(model), "pedestrian"]
    assert (limits.upload_mb, limits.video_seconds) == (7, 9)
    assert host == "0.0.0.0"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["cats", "--port", "0"], "there is no model 'cats'"),
        (["--device", "tpu0", "--port", "0"], "no device 'tpu0'"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: no name or address"),
        (["--port", "99999"], "--port 99999: ports have numbers from 0 to 65535"),
    ],
)
def test_mistakes_are_one_sentence(
    options: list[str], sentence: str, run: Run, served: list[Any]
) -> None:
    status, _, said = run("web", *options)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("error: ")
    assert sentence in said
    assert served == []


def test_port_in_use_is_told_before_models_are_loaded(
    run: Run, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "Detector", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, said = run("web", "--port", port)
    assert (status, said.count("\n")) == (2, 1)
    assert f"port {port} of 127.0.0.1 cannot be used (Address already in use)" in said


def test_absent_toolkit_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    status, _, said = run("web")
    assert status == 2
    assert said == ("error: the web page needs the package gradio: pip install 'centernet2[web]'\n")
