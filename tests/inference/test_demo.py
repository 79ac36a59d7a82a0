"""The command line, end to end, with a tiny random model."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from PIL import Image

from centernet2.config import add_centernet_config
from centernet2.inference import zoo
from centernet2.inference.video import VideoReader

REPO = Path(__file__).resolve().parents[2]
SCRIPT = REPO / "demo" / "demo.py"

CONFIG = """
MODEL:
  META_ARCHITECTURE: CenterNetDetector
  WEIGHTS: ""
  DEVICE: cuda
  BACKBONE: {NAME: build_p67_resnet_fpn_backbone}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res3, res4, res5]}
  FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 64}
  PROPOSAL_GENERATOR: {NAME: CenterNet}
  CENTERNET: {NUM_CLASSES: 2, NUM_CLS_CONVS: 1, NUM_BOX_CONVS: 1, PRIOR_PROB: 0.4}
INPUT: {MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 160}
DATASETS: {TEST: []}
"""


@pytest.fixture(scope="session")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random one-stage model on disk."""
    folder = tmp_path_factory.mktemp("model")
    cfg = get_cfg()
    add_centernet_config(cfg)
    path = folder / "config.yaml"
    path.write_text(CONFIG)
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    torch.save(build_model(cfg).state_dict(), folder / "model.pth")
    path.write_text(CONFIG.replace('WEIGHTS: ""', f"WEIGHTS: {folder / 'model.pth'}"))
    return path


@pytest.fixture
def run(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the command line without a display: exit status and what it says on stderr."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *args: None)

    def call(*arguments: object) -> tuple[int, str]:
        status = demo.main([str(argument) for argument in arguments])
        return status, capsys.readouterr().err

    return call


def picture(path: Path, size: tuple[int, int] = (400, 330)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_images_folders_and_patterns(
    run: Callable[..., tuple[int, str]], config: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "one.png")
    picture(tmp_path / "folder" / "two.jpg")
    picture(tmp_path / "glob1.jpg")
    picture(tmp_path / "glob2.jpg")
    names = [tmp_path / "one.png", tmp_path / "folder", tmp_path / "glob*.jpg"]
    out, results = tmp_path / "out", tmp_path / "results.json"
    options = ["--output", out, "--save-json", results, "--confidence-threshold", "0.3"]
    status, _ = run("--input", *names, *options, "--config-file", config)
    assert status == 0
    drawn = sorted(path.name for path in out.iterdir())
    assert drawn == ["glob1.jpg", "glob2.jpg", "one.png", "two.jpg"]
    entries = json.loads(results.read_text())
    assert {e["image_id"] for e in entries} == {1, 2, 3, 4}
    assert {e["category_id"] for e in entries} <= {1, 2}
    assert min(e["score"] for e in entries) >= 0.3


def test_opts_change_the_configuration(
    run: Callable[..., tuple[int, str]], config: Path, tmp_path: Path
) -> None:
    path, results = picture(tmp_path / "one.png"), tmp_path / "results.json"
    limit = ["--opts", "MODEL.CENTERNET.POST_NMS_TOPK_TEST", "2"]
    arguments = ["--input", path, "--save-json", results, "--confidence-threshold", "0.01"]
    status, _ = run(*arguments, "--config-file", config, *limit)
    assert status == 0
    assert len(json.loads(results.read_text())) == 2
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".png"] == ["one.png"]


def test_one_bad_image_gives_status_1(
    run: Callable[..., tuple[int, str]], config: Path, tmp_path: Path
) -> None:
    good, bad = picture(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    names = [bad, tmp_path / "missing.png", good]
    status, said = run("--input", *names, "--output", tmp_path / "out", "--config-file", config)
    assert status == 1
    assert "bad.png: not an image" in said
    assert "missing.png: no such file" in said
    assert (tmp_path / "out" / "good.png").is_file()


@pytest.mark.slow
def test_video_keeps_its_rate(
    run: Callable[..., tuple[int, str]], config: Path, street_video: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    arguments = ["--video-input", street_video, "--output", target, "--batch-size", 5]
    small = ["--opts", "INPUT.MIN_SIZE_TEST", "32", "INPUT.MAX_SIZE_TEST", "96"]
    status, _ = run(*arguments, "--config-file", config, *small)
    assert status == 0
    with VideoReader(target) as reader:
        assert reader.rate == 25
        assert reader.expected_frames == 250


def test_part_of_a_video(
    run: Callable[..., tuple[int, str]], config: Path, street_video: Path, tmp_path: Path
) -> None:
    target, results = tmp_path / "out.mp4", tmp_path / "results.json"
    chosen = ["--start", "0:04", "--end", "5.5", "--every", 12]
    arguments = ["--video-input", street_video, "--output", target, "--save-json", results]
    arguments += [*chosen, "--confidence-threshold", 0.05, "--config-file", config]
    status, _ = run(*arguments, "--opts", "INPUT.MIN_SIZE_TEST", "32", "INPUT.MAX_SIZE_TEST", "96")
    assert status == 0
    found = {entry["image_id"]: entry["time"] for entry in json.loads(results.read_text())}
    assert found == {100: 4.0, 112: 4.48, 124: 4.96, 136: 5.44}
    with VideoReader(target) as reader:
        assert [float(f.time) for f in reader] == pytest.approx([0, 0.48, 0.96, 1.44])
        assert float(reader.duration) == pytest.approx(1.52, abs=0.01)  # 5.44 and two frames more


def test_shipped_model_is_used_without_a_configuration(
    run: Callable[..., tuple[int, str]],
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    folder = tmp_path / "zoo" / zoo.DEFAULT_MODEL
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    weights = torch.load(config.parent / "model.pth", weights_only=True)
    safetensors.save_file(weights, folder / "model.safetensors")
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path / "zoo")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where no weights were fetched to
    path = picture(tmp_path / "one.png")
    status, _ = run("--input", path, "--output", tmp_path / "drawn.png")
    assert status == 0
    assert (tmp_path / "drawn.png").is_file()
    status, said = run("--input", path, "--output", tmp_path / "drawn.png", "--model", "dogs")
    assert status == 2
    assert said.startswith("error: there is no model 'dogs': give a shipped one (pedestrian)")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--input", "missing.png", "--output", "out"], "missing.png: no such file"),
        (["--video-input", "missing.mp4", "--output", "out"], "missing.mp4: no such file"),
        (["--input", "{image}"], "there is no display"),
        (["--webcam"], "there is no display"),
        (["--input", "{image}", "--output", "o", "--every", "2"], "--every is for --video-input"),
        (
            ["--video-input", "{image}", "--output", "o", "--start", "5", "--end", "4"],
            "5 s and 4 s",
        ),
        (["--input", "{image}", "--output", "o", "--track"], "--track is for --video-input"),
        (["--webcam", "--output", "o", "--count-line", "0,0,9,9"], "--count-line needs --track"),
        (["--input", "{image}", "--output", "{image}"], "would overwrite"),
        (["--input", "{image}", "--output", "out", "--config-file", "no.yaml"], "no.yaml"),
        (["--input", "{image}", "--output", "out", "--opts", "MODEL.NO", "1"], "MODEL.NO"),
        (["--input", "{image}", "--output", "out", "--opts", "MODEL.WEIGHTS", "n.pth"], "n.pth"),
    ],
)
def test_mistakes_end_in_one_sentence(
    arguments: list[str],
    sentence: str,
    run: Callable[..., tuple[int, str]],
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    image = picture(tmp_path / "image.png")
    arguments = [argument.format(image=image) for argument in arguments]
    if "--config-file" not in arguments:
        arguments[:0] = ["--config-file", str(config)]
    status, said = run(*arguments)
    assert status == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert sentence in said


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--input", "a.jpg", "--webcam"],
        ["--input", "a.jpg", "--confidence-threshold", "1.5"],
        ["--input", "a.jpg", "--batch-size", "0"],
        ["--video-input", "a.mp4", "--every", "0"],
        ["--video-input", "a.mp4", "--start", "soon"],
        ["--video-input", "a.mp4", "--track", "--count-line", "1,2,3"],
    ],
)
def test_wrong_options_are_refused(run: Callable[..., tuple[int, str]], arguments: list) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2


def test_help_names_every_option(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for option in ("--input", "--video-input", "--webcam", "--output", "--save-json", "--opts"):
        assert option in printed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_leaves_files_that_can_be_used(
    number: signal.Signals, config: Path, street_video: Path, tmp_path: Path
) -> None:
    target, results = tmp_path / "out.mp4", tmp_path / "results.json"
    command = [sys.executable, str(SCRIPT), "--video-input", str(street_video)]
    command += ["--output", str(target), "--save-json", str(results), "--config-file", str(config)]
    command += ["--confidence-threshold", "0.05"]
    # Shells start background jobs with Ctrl-C ignored, which children inherit
    before = signal.signal(number, signal.SIG_DFL)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(number, before)
    try:
        while process.poll() is None:
            if results.exists() and results.stat().st_size > 100_000:
                break
            time.sleep(0.02)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    frames = {entry["image_id"] for entry in json.loads(results.read_text())}
    with VideoReader(target) as reader:
        written = len(list(reader))
    assert 0 < written < 250
    assert abs(written - len(frames)) <= 1
