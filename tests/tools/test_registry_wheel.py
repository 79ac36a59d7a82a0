from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from pip_runner import CommandError
from registry_wheel import Wheel, fetch_wheel, sha256_of

CONTENT = b"what a wheel holds"
WHEEL = Wheel("some-package", "1.2", hashlib.sha256(CONTENT).hexdigest(), python_version="3.10")
FILE_NAME = "some_package-1.2-py3-none-any.whl"


class FakeDownload:
    """Stands for ``pip download``: leaves a file of given content where pip is told to."""

    def __init__(self, content: bytes | None = CONTENT) -> None:
        self.content = content
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str | Path], log: Path, step: str) -> None:
        arguments = [str(part) for part in command]
        self.commands.append(arguments)
        if self.content is not None:
            target = Path(arguments[arguments.index("--dest") + 1]) / FILE_NAME
            target.write_bytes(self.content)


def test_sha256_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_wheel_is_downloaded_once(tmp_path: Path) -> None:
    download = FakeDownload()
    first = fetch_wheel(WHEEL, tmp_path / "wheels", "python", download)
    second = fetch_wheel(WHEEL, tmp_path / "wheels", "python", download)
    assert first == second == tmp_path / "wheels" / FILE_NAME
    assert first.read_bytes() == CONTENT
    (command,) = download.commands
    assert command[:4] == ["python", "-m", "pip", "download"]
    assert command[-1] == "some-package==1.2"
    assert command[command.index("--python-version") + 1] == "3.10"
    assert [path.name for path in first.parent.iterdir()] == [FILE_NAME]


def test_a_damaged_kept_wheel_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"half")
    download = FakeDownload()
    assert fetch_wheel(WHEEL, tmp_path, "python", download).read_bytes() == CONTENT
    assert len(download.commands) == 1


def test_another_content_is_refused_and_deleted(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="checksum of some_package-1.2.* is wrong") as raised:
        fetch_wheel(WHEEL, tmp_path, "python", FakeDownload(b"something else"))
    assert WHEEL.sha256 in str(raised.value)
    assert not list(tmp_path.rglob("*.whl"))


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="downloaded no wheel of some-package 1.2"):
        fetch_wheel(WHEEL, tmp_path, "python", FakeDownload(None))
