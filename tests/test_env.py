from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import detectron2
import pytest
import torch
import torchvision

from centernet2 import env
from centernet2.env import Problem, collect_env, find_problems, format_env, main

REPO = Path(__file__).resolve().parent.parent


def required(problems: list[Problem]) -> list[str]:
    return [problem.text for problem in problems if problem.required]


def run_module(tmp_path: Path, absent: str | None) -> subprocess.CompletedProcess[str]:
    """``python -m centernet2.env`` where importing one package fails as if it were not there."""
    environment = dict(os.environ)
    if absent is not None:
        code = f"import sys\nsys.modules[{absent!r}] = None\n"
        (tmp_path / "sitecustomize.py").write_text(code)
        environment["PYTHONPATH"] = str(tmp_path)
    command = [sys.executable, "-m", "centernet2.env"]
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)


def test_the_table_tells_what_is_installed() -> None:
    table = collect_env()
    assert table["PyTorch"].startswith(torch.__version__)
    assert table["torchvision"] == torchvision.__version__
    assert table["Detectron2"].startswith(f"{detectron2.__version__} (")
    assert table["device used"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert table["Python"].startswith("{}.{}.{}".format(*sys.version_info))
    assert all("\n" not in text and text for text in table.values())


def test_all_is_well_here() -> None:
    assert required(find_problems()) == []


def test_the_table_is_aligned() -> None:
    assert format_env({"a": "1", "longer": "2"}) == "a       1\nlonger  2"


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("torch", "PyTorch is not installed: pip install"),
        ("torchvision", "torchvision is not installed: pip install torchvision"),
        ("detectron2", "Detectron2 is not installed: `make setup` puts"),
        ("cv2", "opencv-python is not installed: pip install opencv-python"),
        ("pycocotools", "pycocotools is not installed: pip install pycocotools"),
    ],
)
def test_a_missing_package_is_named_with_its_cure(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    sentence: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main() == 1
    printed = capsys.readouterr().out
    assert f"MISSING: {sentence}" in printed
    assert printed.count("MISSING") == 1


def test_what_only_a_part_needs_is_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert main() == 0
    expected = "note: av is not installed, needed only for video input and output: pip install av"
    assert expected in capsys.readouterr().out


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = types.SimpleNamespace(name="Some GPU", total_memory=24 * 2**30, major=8, minor=9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    table = collect_env()
    assert table["device used"] == "cuda"
    assert table["PyTorch"] == f"{torch.__version__} (CUDA 13.0, cuDNN 91900)"
    assert table["GPU 0"] == table["GPU 1"] == "Some GPU, 24.0 GiB, compute capability 8.9"


def test_a_gpu_that_torch_cannot_use_is_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(env, "NVIDIA_GPU", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (note,) = [problem for problem in find_problems() if "GPU" in problem.text]
    assert not note.required
    assert "update the driver" in note.text


def test_an_old_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.3.1+cu121")
    assert required(find_problems()) == [
        "PyTorch 2.3.1+cu121 is too old: pip install -U 'torch>=2.4' torchvision"
    ]
    monkeypatch.setattr(torch, "__version__", "2.10.0a0+git")  # above 2.4, though not as text
    assert required(find_problems()) == []


@pytest.mark.parametrize(("version", "told"), [("2.5.1", True), ("2.6.0", False), ("2.4", True)])
def test_a_torch_with_a_known_hole_is_a_note(
    version: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    notes = [problem for problem in find_problems() if "CVE-2025-32434" in problem.text]
    assert len(notes) == told
    assert not any(note.required for note in notes)


@pytest.mark.parametrize(
    ("module", "version", "told"),
    [
        ("PIL", "9.5.0", True),
        ("PIL", "10.2.0", True),
        ("PIL", "10.3.0", False),
        ("PIL", "12.0.0.dev0", False),
        ("cv2", "4.8.0", True),
        ("cv2", "4.8.1", False),
        ("cv2", "5.0.0-pre", False),
    ],
)
def test_a_reader_of_images_with_a_known_hole_is_a_note(
    module: str, version: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{module}.__version__", version)
    package = {"PIL": "pillow", "cv2": "opencv-python"}[module]
    notes = [p for p in find_problems() if p.text.startswith(f"{package} {version} can be made")]
    assert len(notes) == told
    assert all("CVE-2023-4863" in p.text and "pip install -U" in p.text for p in notes)
    assert not any(note.required for note in notes)


def test_a_torchvision_for_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def nms(*args: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", nms)
    (text,) = required(find_problems())
    assert text.startswith(f"torchvision does not fit PyTorch {torch.__version__}")
    assert "torchvision::nms does not exist" in text


def test_an_old_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectron2, "__version__", "0.5")
    (text,) = required(find_problems())
    assert text.startswith("Detectron2 0.5 is too old, 0.6 is the oldest")


def test_a_folder_that_hides_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = types.ModuleType("detectron2")
    folder.__path__ = ["/home/me/detectron2"]
    monkeypatch.setitem(sys.modules, "detectron2", folder)
    (text,) = required(find_problems())
    assert "/home/me/detectron2" in text
    assert "run from another folder" in text
    assert "/home/me/detectron2" in collect_env()["Detectron2"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("libGL.so.1: cannot open shared object file"), "apt-get install -y libgl1"),
        (ImportError("numpy.core.multiarray failed to import"), "pip install opencv-python"),
    ],
)
def test_an_opencv_that_does_not_import(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    real_import = env.importlib.import_module

    def import_module(name: str) -> types.ModuleType:
        if name == "cv2":
            raise error
        return real_import(name)

    monkeypatch.setattr(env.importlib, "import_module", import_module)
    (text,) = required(find_problems())
    assert text.startswith("opencv-python does not import")
    assert words in text
    assert collect_env()["opencv-python"] == f"broken (ImportError: {error})"


def test_a_detectron2_older_than_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = env.importlib.import_module

    def import_module(name: str) -> types.ModuleType:
        if name == "detectron2.engine":
            raise AttributeError("module 'PIL.Image' has no attribute 'LINEAR'")
        return real_import(name)

    monkeypatch.setattr(env.importlib, "import_module", import_module)
    (text,) = required(find_problems())
    assert "pip install 'pillow<10'" in text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, "present"),
        (ModuleNotFoundError("no", name="detectron2._C"), "absent"),
        (ImportError("undefined symbol: _ZN3c10"), "rebuild Detectron2"),
    ],
)
def test_what_detectron2s_operators_are(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, words: str
) -> None:
    real_import = env.importlib.import_module

    def import_module(name: str) -> types.ModuleType:
        if name != "detectron2._C":
            return real_import(name)
        if error is not None:
            raise error
        return types.ModuleType(name)

    monkeypatch.setattr(env.importlib, "import_module", import_module)
    assert words in collect_env()["Detectron2's operators"]
    assert required(find_problems()) == []  # none of them is needed


def test_a_wrong_datasets_folder_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "absent"))
    notes = [problem.text for problem in find_problems() if not problem.required]
    assert f"DETECTRON2_DATASETS={tmp_path / 'absent'} is no folder" in "\n".join(notes)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert not any("DETECTRON2_DATASETS" in problem.text for problem in find_problems())
    assert collect_env()["DETECTRON2_DATASETS"] == str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("absent", [None, "torch", "detectron2", "torchvision", "matplotlib"])
def test_the_module_runs_whatever_is_missing(tmp_path: Path, absent: str | None) -> None:
    done = run_module(tmp_path, absent)
    assert done.stderr == ""
    assert done.returncode == (0 if absent is None else 1), done.stdout
    assert done.stdout.count("MISSING: ") == (0 if absent is None else 1)
