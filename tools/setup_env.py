#!/usr/bin/env python3
"""Make ``.venv`` and fill it with all that this project needs; what is done already is skipped.

    python3 tools/setup_env.py

Standard library only: it runs before anything is installed. The steps are those of
:meth:`Setup.steps`; each leaves a stamp in the environment, keyed by what it depends on, so that a
changed pin is installed at the next call and an interrupted call goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pip_runner import CommandError, Runner, run_logged
from registry_wheel import Wheel, fetch_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DETECTRON2", "PYTHON_RANGE", "Setup", "find_python", "main"]

REPO = Path(__file__).resolve().parent.parent
PYTHON_RANGE = ((3, 10), (3, 14))  # first and last minor version that every pin has a build for
NEEDED_GB = 10  # 6 for the environment, the rest while pip unpacks

# Detectron2 as pure Python, without compiled operators. The wheel's tag names Python 3.10 and its
# metadata an upper bound on NumPy; its content needs neither.
DETECTRON2 = Wheel(
    name="sal-detectron2",
    version="0.7.2",
    sha256="491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561",
    python_version="3.10",
)

# Runs in the new environment: every import that a missing system library can break.
CHECK = "import torch, torchvision, cv2, matplotlib, pycocotools.mask, detectron2.modeling"


def find_python() -> str:
    """The interpreter to build on: the one running this if its version fits, else one on PATH.

    Raises:
        CommandError: there is none in ``PYTHON_RANGE``.
    """
    low, high = PYTHON_RANGE
    if low <= sys.version_info[:2] <= high:
        return sys.executable
    for minor in range(high[1], low[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    raise CommandError(
        "Python {}.{} at {} does not fit: the pinned packages need Python {}.{} to {}.{}; install "
        "one of these and run again with make PYTHON=python{}.{} (or use an environment of your "
        "own, see README).".format(*sys.version_info[:2], sys.executable, *low, *high, *high)
    )


def python_version(python: str | Path) -> tuple[int, int] | None:
    """Major and minor version of an interpreter; None if it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = done.stdout.split()
    return int(major), int(minor)


@dataclass(frozen=True)
class Step:
    """One step of the set-up.

    Attributes:
        name: names its stamp.
        label: what is told to the user when it runs.
        inputs: the files that it depends on.
        action: does it.
        detail: what else it depends on.
    """

    name: str
    label: str
    inputs: list[Path]
    action: Callable[[], None]
    detail: str = ""


class Setup:
    """The steps that make the environment of one checkout.

    Args:
        repo: the checkout.
        run: runs a command and logs it; replaced in tests.
    """

    def __init__(self, repo: Path = REPO, run: Runner = run_logged) -> None:
        self.repo = repo
        self.venv = repo / ".venv"
        self.python = self.venv / "bin" / "python"
        self.cache = repo / ".cache"
        self.log = self.cache / "setup.log"
        self._stamp_file = self.venv / "setup_stamps.json"
        self._run = run

    def steps(self) -> list[Step]:
        """All steps after the making of the environment, in their order."""
        requirements = self.repo / "requirements"
        return [
            Step(
                "installer",
                "the installer (pip, setuptools)",
                [requirements / "build.txt"],
                self.install_installer,
            ),
            Step(
                "packages",
                "PyTorch and the other packages (some GB; 2 to 10 minutes)",
                [requirements / "runtime.txt", requirements / "dev.txt"],
                self.install_packages,
            ),
            Step(
                "detectron2",
                f"Detectron2 ({DETECTRON2.name} {DETECTRON2.version})",
                [],
                self.install_detectron2,
                detail=str(DETECTRON2),
            ),
            Step(
                "project",
                "CenterNet2 itself, editable",
                [
                    self.repo / "setup.py",
                    self.repo / "pyproject.toml",
                    self.repo / "centernet2" / "version.py",
                ],
                self.install_project,
            ),
            Step("check", "a check that all of it imports", [], self.check),
        ]

    def run(self) -> None:
        """Bring the environment up to date.

        Raises:
            CommandError: a step failed.
        """
        self.make_venv()
        # A step that ran makes those after it run as well: they stand on what it installed.
        key = f"{self.venv} {python_version(self.python)}"
        for step in self.steps():
            content = b"".join(path.read_bytes() for path in step.inputs)
            key = hashlib.sha256(f"{key} {step.detail} ".encode() + content).hexdigest()
            if self._stamps().get(step.name) != key:
                print(f"[setup] {step.label} ...", flush=True)
                step.action()
                self._stamp(step.name, key)
        print(f"[setup] The environment is ready: {self.venv}", flush=True)

    # ------------------------------------------------------------------------------------ steps

    def make_venv(self) -> None:
        """Make the virtual environment unless a working one of a fitting version is there."""
        low, high = PYTHON_RANGE
        version = python_version(self.python)
        if version is not None and low <= version <= high:
            return
        base = find_python()
        probe = subprocess.run([base, "-c", "import venv, ensurepip"], capture_output=True)
        if probe.returncode != 0:
            raise CommandError(
                f"The Python at {base} cannot make virtual environments: install its venv module "
                "(Debian, Ubuntu: sudo apt-get install -y python3-venv) and run this again."
            )
        free_gb = shutil.disk_usage(self.repo).free / 1e9
        if free_gb < NEEDED_GB:
            raise CommandError(
                f"Only {free_gb:.1f} GB are free at {self.repo}: the set-up needs about "
                f"{NEEDED_GB} GB, so free some space and run this again."
            )
        print(f"[setup] {self.venv} on {base} ...", flush=True)
        self._run([base, "-m", "venv", "--clear", self.venv], self.log, "Making .venv")

    def install_installer(self) -> None:
        build = self.repo / "requirements" / "build.txt"
        self._pip("Updating pip", "--require-hashes", "-r", build)

    def install_packages(self) -> None:
        requirements = self.repo / "requirements"
        files = ("-r", requirements / "runtime.txt", "-r", requirements / "dev.txt")
        # Packages that come as source build with the setuptools pinned in build.txt.
        options = ("--require-hashes", "--no-build-isolation")
        self._pip("Installing the packages", *options, *files)

    def install_detectron2(self) -> None:
        if self._has_official_detectron2():
            print("[setup]   keeping the Detectron2 that .venv has already", flush=True)
            return
        wheel = fetch_wheel(DETECTRON2, self.cache / "wheels", self.python, self._run)
        # pip reads the tag from the file's name: say there that any Python 3 will do.
        with tempfile.TemporaryDirectory() as temporary:
            any_python = Path(temporary) / f"{DETECTRON2.file_stem}py3-none-any.whl"
            shutil.copyfile(wheel, any_python)
            self._pip("Installing Detectron2", "--no-deps", any_python)

    def install_project(self) -> None:
        options = ("--no-deps", "--no-build-isolation")
        self._pip("Installing CenterNet2", *options, "-e", self.repo)

    def check(self) -> None:
        self._run([self.python, "-W", "ignore", "-c", CHECK], self.log, "Importing the packages")

    # ---------------------------------------------------------------------------------- helpers

    def _pip(self, step: str, *arguments: str | Path) -> None:
        self._run([self.python, "-m", "pip", "install", *arguments], self.log, step)

    def _has_official_detectron2(self) -> bool:
        code = "import importlib.metadata as m; m.version('detectron2')"
        return subprocess.run([str(self.python), "-c", code], capture_output=True).returncode == 0

    def _stamps(self) -> dict[str, str]:
        try:
            stamps = json.loads(self._stamp_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamps if isinstance(stamps, dict) else {}

    def _stamp(self, name: str, key: str) -> None:
        temporary = self._stamp_file.with_suffix(".tmp")
        temporary.write_text(json.dumps({**self._stamps(), name: key}, indent=1), encoding="utf-8")
        os.replace(temporary, self._stamp_file)


def wait_for_lock(lock: IO[str]) -> None:
    """Let one set-up of a checkout run at a time; the lock ends when the file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("[setup] Another set-up of this folder runs: waiting for it ...", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def main(repo: Path = REPO, run: Runner = run_logged) -> int:
    """Set up one checkout and say how it went.

    Returns:
        The exit status: 0, 1 after a failure (told on stderr in a sentence), 130 when stopped.
    """
    setup = Setup(repo, run)
    try:
        setup.cache.mkdir(exist_ok=True)
        with (setup.cache / "setup.lock").open("w") as lock:
            wait_for_lock(lock)
            setup.run()
    except CommandError as error:
        print(f"[setup] {error.report()}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"[setup] {error.strerror}: {error.filename}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n[setup] Stopped; run it again and it goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
