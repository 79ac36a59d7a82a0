"""What CenterNet2 runs on: ``python -m centernet2.env`` prints it, what is missing, and the cure.

Every package is imported only when it is asked for, so that the report works where PyTorch or
Detectron2 is absent or broken. The same table is saved with every training run.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType

from .version import __version__

__all__ = ["Problem", "collect_env", "find_problems", "format_env", "main"]

MIN_TORCH = (2, 4)
# Before it, torch.load ran code from checkpoints in spite of weights_only=True (CVE-2025-32434)
SAFE_TORCH = (2, 6)
# Releases before these have holes that an image file can use to run code
SAFE_READERS = (
    ("PIL", "pillow", (10, 3), "CVE-2023-4863, CVE-2024-28219"),
    ("cv2", "opencv-python", (4, 8, 1), "CVE-2023-4863"),
)
MIN_DETECTRON2 = (0, 6)
REPO = Path(__file__).resolve().parent.parent
NVIDIA_GPU = Path("/dev/nvidia0")  # there when a driver has found one, whatever PyTorch says
INSTALL_DETECTRON2 = (
    "`make setup` puts a pinned one into .venv; into an environment of your own: pip install "
    "--no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
)
INSTALL_OPENCV_LIBS = "Debian, Ubuntu: sudo apt-get install -y libgl1 libglib2.0-0"

# Beside PyTorch, torchvision and Detectron2: module, package of the registry, and what it is needed
# for (None: for everything)
PACKAGES = (
    ("numpy", "numpy", None),
    ("cv2", "opencv-python", None),
    ("PIL", "pillow", None),
    ("fvcore", "fvcore", None),
    ("matplotlib", "matplotlib", None),
    ("pycocotools", "pycocotools", None),
    ("lvis", "lvis", "LVIS data"),
    ("shapely", "shapely", "tools/check_dataset.py"),
    ("hotcoco", "hotcoco", "fast evaluation"),
    ("av", "av", "video input and output"),
    ("rich", "rich", "the progress display"),
    ("safetensors", "safetensors", "the shipped models"),
    ("shtab", "shtab", "completion in the shell"),
    ("tensorboard", "tensorboard", "TensorBoard logs"),
)


@dataclass(frozen=True)
class Problem:
    """Something missing or unsupported.

    Attributes:
        text: one line that names it and its cure.
        required: whether nothing works without it.
    """

    text: str
    required: bool


@dataclass(frozen=True)
class _Import:
    """A module, or why there is none: `lacking` is the package that is not installed."""

    module: ModuleType | None
    error: str = ""
    absent: bool = False
    lacking: str = ""


def collect_env() -> dict[str, str]:
    """Versions and devices, in the order to print them.

    Returns:
        A name and a text of one line for each; a package that is absent or broken says so.
    """
    env = {
        "CenterNet2": f"{__version__} at {Path(__file__).resolve().parent}",
        "git revision": _git_revision(),
        "Python": f"{platform.python_version()} at {sys.executable}",
        "OS": platform.platform(),
        "CPU": _describe_cpu(),
        "memory": _describe_memory(),
    }
    env.update(_describe_torch())
    env["torchvision"] = _describe_package("torchvision", "torchvision")
    env.update(_describe_detectron2())
    for module, distribution, _ in PACKAGES:
        env[distribution] = _describe_package(module, distribution)
    env["DETECTRON2_DATASETS"] = _describe_datasets()
    return env


def find_problems() -> list[Problem]:
    """All that is missing or unsupported, each with its cure; empty when all is well."""
    problems = _check_torch() + _check_torchvision() + _check_detectron2()
    for module, distribution, needed_for in PACKAGES:
        found = _import(module)
        if found.module is None and not _is_told_elsewhere(found, module):
            cure = f"pip install {distribution}"
            if "libGL" in found.error or "libgthread" in found.error:
                cure = f"system libraries are missing ({INSTALL_OPENCV_LIBS})"
            why = "is not installed" if found.absent else f"does not import ({found.error})"
            use = f", needed only for {needed_for}" if needed_for else ""
            problems.append(Problem(f"{distribution} {why}{use}: {cure}", needed_for is None))
    problems += _check_image_readers()
    folder = os.environ.get("DETECTRON2_DATASETS")
    if folder and not Path(folder).expanduser().is_dir():
        text = f"DETECTRON2_DATASETS={folder} is no folder: make it, or set the right one"
        problems.append(Problem(text, False))
    return problems


def format_env(env: dict[str, str] | None = None) -> str:
    """The environment as an aligned table of plain text.

    Args:
        env: what to print; by default that of this process.
    """
    env = collect_env() if env is None else env
    width = max(map(len, env))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in env.items())


def main() -> int:
    """Print the table and the problems.

    Returns:
        The exit status: 1 if something is missing that nothing works without, else 0.
    """
    problems = find_problems()
    lines = [("MISSING: " if p.required else "note: ") + p.text for p in problems]
    print("\n".join([format_env(), "", *(lines or ["Nothing is missing."])]))
    return int(any(problem.required for problem in problems))


# ------------------------------------------------------------------------------------- machine


def _describe_cpu() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{_cpu_model()}, {usable} of {os.cpu_count()} cores usable"
    torch = _import("torch").module
    return text if torch is None else f"{text}, {torch.get_num_threads()} threads used by PyTorch"


def _cpu_model() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        info = ""
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return model.group(1) if model else platform.processor() or platform.machine()


def _describe_memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{size / 2**30:.1f} GiB"


def _git_revision() -> str:
    # Installed in site-packages the package may lie inside some other project's repository
    if not (REPO / ".git").exists():
        return "none (not a git checkout)"
    command = ["git", "-C", str(REPO), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({type(error).__name__})"
    return done.stdout.strip()


def _describe_datasets() -> str:
    folder = os.environ.get("DETECTRON2_DATASETS")
    return folder if folder else f"not set: {Path('datasets').resolve()} is used"


# ------------------------------------------------------------------------------------ packages


def _import(name: str) -> _Import:
    try:
        return _Import(importlib.import_module(name))
    except ModuleNotFoundError as error:
        missing = error.name or ""
        return _Import(None, _one_line(error), missing == name, missing.partition(".")[0])
    except Exception as error:  # a broken build raises OSError, RuntimeError, AttributeError ...
        return _Import(None, _one_line(error))


def _is_told_elsewhere(found: _Import, name: str) -> bool:
    """Whether a module fails for want of another required one, which has a line of its own."""
    required = {module for module, _, needed_for in PACKAGES if needed_for is None}
    return found.lacking in (required | {"torch", "torchvision", "detectron2"}) - {name}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def _describe_package(module: str, distribution: str) -> str:
    found = _import(module)
    if found.module is None:
        return "missing" if found.absent else f"broken ({found.error})"
    version = getattr(found.module, "__version__", None) or _distribution_version(distribution)
    return str(version or "version unknown")


def _distribution_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.11.0a0+cu130 gives (2, 11, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match.group().split("."))) if match else ()


def _describe_torch() -> dict[str, str]:
    described = {"PyTorch": _describe_package("torch", "torch")}
    torch = _import("torch").module
    if torch is None:
        return described
    if not torch.cuda.is_available():
        return {**described, "device used": "cpu"}
    described["device used"] = "cuda"
    runtime = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    described["PyTorch"] += f" ({runtime}, cuDNN {torch.backends.cudnn.version()})"
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        capability = f"{gpu.major}.{gpu.minor}"
        memory = f"{gpu.total_memory / 2**30:.1f} GiB"
        described[f"GPU {index}"] = f"{gpu.name}, {memory}, compute capability {capability}"
    return described


def _check_torch() -> list[Problem]:
    found = _import("torch")
    needed = ".".join(map(str, MIN_TORCH))
    if found.module is None:
        why = "is not installed" if found.absent else f"does not import ({found.error})"
        cure = f"pip install 'torch>={needed}' torchvision (pytorch.org lists builds by CUDA)"
        return [Problem(f"PyTorch {why}: {cure}", True)]
    problems = []
    version = str(found.module.__version__)
    if _release(version) < MIN_TORCH:
        text = f"PyTorch {version} is too old: pip install -U 'torch>={needed}' torchvision"
        problems.append(Problem(text, True))
    elif _release(version) < SAFE_TORCH:
        safe = ".".join(map(str, SAFE_TORCH))
        text = (
            f"PyTorch {version} can be made to run code by a .pth file (CVE-2025-32434): read only "
            f"your own, or pip install -U 'torch>={safe}' torchvision"
        )
        problems.append(Problem(text, False))
    if NVIDIA_GPU.exists() and not found.module.cuda.is_available():
        cure = "install a build for your driver's CUDA version (pytorch.org), or update the driver"
        text = f"an NVIDIA GPU is here but this PyTorch cannot use it, so the CPU is: {cure}"
        problems.append(Problem(text, False))
    return problems


def _check_image_readers() -> list[Problem]:
    problems = []
    for module, distribution, safe, holes in SAFE_READERS:
        version = str(getattr(_import(module).module, "__version__", ""))
        if version and _release(version) < safe:
            wanted = ".".join(map(str, safe))
            text = (
                f"{distribution} {version} can be made to run code by an image file ({holes}): "
                f"read only images that you trust, or pip install -U '{distribution}>={wanted}'"
            )
            problems.append(Problem(text, False))
    return problems


def _check_torchvision() -> list[Problem]:
    found = _import("torchvision")
    torch = _import("torch").module
    if found.absent:
        return [Problem("torchvision is not installed: pip install torchvision", True)]
    if torch is None:
        return []  # nothing can be told before PyTorch imports
    error = found.error
    if found.module is not None:
        try:
            found.module.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        except Exception as failure:  # what a missing operator raises differs by version
            error = _one_line(failure)
    if not error:
        return []
    cure = "pip install -U --force-reinstall torchvision from where your PyTorch came"
    text = f"torchvision does not fit PyTorch {torch.__version__} ({error}): {cure}"
    return [Problem(text, True)]


def _describe_detectron2() -> dict[str, str]:
    found = _import("detectron2")
    if found.module is None:
        return {"Detectron2": "missing" if found.absent else f"broken ({found.error})"}
    version = getattr(found.module, "__version__", "of unknown version")
    if _distribution_version("detectron2"):
        build = "official build"
    elif _distribution_version("sal-detectron2"):
        build = "sal-detectron2, a repackaged build"
    else:
        build = "from source, not installed by pip"
    compiled = _import("detectron2._C")
    if compiled.module is not None:
        operators = "present"
    elif compiled.absent:
        operators = "absent: no rotated boxes; CenterNet2 needs none of them"
    else:
        operators = f"broken ({compiled.error}): rebuild Detectron2 for rotated boxes"
    location = ", ".join(found.module.__path__)
    return {"Detectron2": f"{version} ({build}) at {location}", "Detectron2's operators": operators}


def _check_detectron2() -> list[Problem]:
    found = _import("detectron2")
    if _is_told_elsewhere(found, "detectron2"):
        return []
    if found.module is None:
        why = "is not installed" if found.absent else f"does not import ({found.error})"
        return [Problem(f"Detectron2 {why}: {INSTALL_DETECTRON2}", True)]
    needed = ".".join(map(str, MIN_DETECTRON2))
    version = str(getattr(found.module, "__version__", ""))
    if not version:
        location = ", ".join(found.module.__path__)
        text = (
            f"a folder named detectron2 ({location}) hides the package: run from another folder, "
            f"or, if it is not installed, {INSTALL_DETECTRON2}"
        )
        return [Problem(text, True)]
    if _release(version) < MIN_DETECTRON2:
        text = f"Detectron2 {version} is too old, {needed} is the oldest: {INSTALL_DETECTRON2}"
        return [Problem(text, True)]
    if _import("torch").module is None:
        return []  # nothing more can be told before PyTorch imports
    engine = _import("detectron2.engine")
    if engine.module is not None or _is_told_elsewhere(engine, "detectron2"):
        return []
    cure = "pip install -U the package it names"
    if "PIL.Image" in engine.error:
        cure = "this Detectron2 is older than Pillow 10; pip install 'pillow<10' or update it"
    return [Problem(f"Detectron2 {version} does not import ({engine.error}): {cure}", True)]


if __name__ == "__main__":
    sys.exit(main())
