"""The tiny detector and data set of the engine's tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).with_name("tiny_train.py")


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
