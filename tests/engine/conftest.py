"""The tiny detector and data set of the engine's tests, and children to break things in."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

SCRIPT = Path(__file__).with_name("tiny_train.py")
NOT_POSSIBLE = 77  # see faults.py


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module tiny_train.py; the import registers its detectors."""
    name = "tiny_train"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def tiny_folder(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny data set."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write_data(folder)
    return folder


@pytest.fixture
def tiny_data(tiny: ModuleType, tiny_folder: Path) -> Path:
    """The same, registered as "tiny" for this process."""
    tiny.register_data(tiny_folder)
    return tiny_folder


class Ended(NamedTuple):
    """How a child ended: its exit code (negative: the signal), and all that it printed."""

    code: int
    text: str


@pytest.fixture(scope="session")
def fault_server(tiny_folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The process of ``faults.py``."""
    script = SCRIPT.with_name("faults.py")
    root = str(SCRIPT.parents[2])
    with subprocess.Popen(
        [sys.executable, str(script), str(tiny_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
    ) as process:
        yield process
        process.kill()  # closing its input is no end while a forked process holds it too


@pytest.fixture
def in_child(
    fault_server: subprocess.Popen[str], request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[..., Ended]:
    """Runs a function of this test's file in a child, whose limits and mounts it may change.

    The child knows the data set "tiny". The test is skipped where the system forbids what the
    function needs.
    """

    def run(function: Callable[..., int], **arguments: Any) -> Ended:
        assert fault_server.stdin is not None
        assert fault_server.stdout is not None
        output = tmp_path / "printed.txt"
        parts = [str(request.path), function.__name__, str(output), arguments]
        fault_server.stdin.write(json.dumps(parts, default=str) + "\n")
        fault_server.stdin.flush()
        ended = Ended(int(fault_server.stdout.readline()), output.read_text())
        if ended.code == NOT_POSSIBLE:
            pytest.skip(f"the system forbids what this test needs: {ended.text[-200:]}")
        return ended

    return run
