from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import setup_env
from pip_runner import CommandError

INPUTS = {
    "requirements/build.txt": "pip==26.2.1\n",
    "requirements/runtime.txt": "numpy==2.4.6\n",
    "requirements/dev.txt": "pytest==9.2.0\n",
    "setup.py": "",
    "pyproject.toml": "",
    "centernet2/version.py": '__version__ = "0.1.0"\n',
}
WHEEL_CONTENT = b"Detectron2, say"


class FakeRunner:
    """Does what ``python -m venv`` and pip would leave behind, and remembers what was asked."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.commands: dict[str, list[str]] = {}
        self.fail_at: str | None = None

    def __call__(self, command: Sequence[str | Path], log: Path, step: str) -> None:
        arguments = [str(part) for part in command]
        self.steps.append(step)
        self.commands[step] = arguments
        if step == self.fail_at:
            raise CommandError(f"{step} failed, says the test.")
        if "venv" in arguments:
            python = Path(arguments[-1]) / "bin" / "python"
            if python.parent.exists():
                shutil.rmtree(python.parent)
            python.parent.mkdir(parents=True)
            python.symlink_to(os.path.realpath(sys.executable))
        elif "download" in arguments:
            folder = Path(arguments[arguments.index("--dest") + 1])
            (folder / "sal_detectron2-0.7.2-cp310-none-any.whl").write_bytes(WHEEL_CONTENT)

    def take(self) -> list[str]:
        """The steps since the last call."""
        steps, self.steps = self.steps, []
        return steps


ALL_STEPS = [
    "Making .venv",
    "Updating pip",
    "Installing the packages",
    "Downloading sal-detectron2 0.7.2",
    "Installing Detectron2",
    "Installing CenterNet2",
    "Importing the packages",
]


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the files that the set-up reads, on a machine with disk space."""
    for name, text in INPUTS.items():
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    accepted = replace(setup_env.DETECTRON2, sha256=hashlib.sha256(WHEEL_CONTENT).hexdigest())
    monkeypatch.setattr(setup_env, "DETECTRON2", accepted)
    monkeypatch.setattr(setup_env, "NEEDED_GB", 0)
    monkeypatch.setattr(setup_env.Setup, "_has_official_detectron2", lambda self: False)
    return tmp_path / "checkout"


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


def test_a_fresh_checkout_runs_every_step_and_a_second_call_none(
    repo: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup_env.main(repo, runner) == 0
    assert runner.take() == ALL_STEPS
    told = capsys.readouterr().out
    assert told.count("...") == 6  # each step that runs is told

    assert setup_env.main(repo, runner) == 0
    assert runner.take() == []
    assert capsys.readouterr().out == f"[setup] The environment is ready: {repo / '.venv'}\n"


def test_what_pip_is_asked_for(repo: Path, runner: FakeRunner) -> None:
    setup_env.main(repo, runner)
    for step, command in runner.commands.items():
        if step != "Making .venv":
            assert command[0] == str(repo / ".venv" / "bin" / "python")
    detectron2 = runner.commands["Installing Detectron2"]
    assert "--no-deps" in detectron2
    assert Path(detectron2[-1]).name == "sal_detectron2-0.7.2-py3-none-any.whl"
    project = runner.commands["Installing CenterNet2"]
    assert "--no-deps" in project
    assert project[-2:] == ["-e", str(repo)]


@pytest.mark.parametrize(
    ("changed", "first_step"),
    [
        ("requirements/build.txt", "Updating pip"),
        ("requirements/runtime.txt", "Installing the packages"),
        ("requirements/dev.txt", "Installing the packages"),
        ("setup.py", "Installing CenterNet2"),
        ("centernet2/version.py", "Installing CenterNet2"),
    ],
)
def test_a_change_repeats_its_step_and_those_after_it(
    repo: Path, runner: FakeRunner, changed: str, first_step: str
) -> None:
    setup_env.main(repo, runner)
    runner.take()
    (repo / changed).write_text("# changed\n")
    setup_env.main(repo, runner)
    # The wheel of Detectron2 is kept from the first call, so it is not downloaded again
    steps = [step for step in ALL_STEPS if not step.startswith("Downloading")]
    assert runner.take() == steps[steps.index(first_step) :]


def test_after_a_failure_it_goes_on_where_it_stopped(
    repo: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    runner.fail_at = "Installing the packages"
    assert setup_env.main(repo, runner) == 1
    assert capsys.readouterr().err == "[setup] Installing the packages failed, says the test.\n"
    assert runner.take()[-1] == "Installing the packages"

    runner.fail_at = None
    assert setup_env.main(repo, runner) == 0
    assert runner.take()[0] == "Installing the packages"


def test_a_wrong_checksum_is_one_sentence_and_installs_nothing(
    repo: Path,
    runner: FakeRunner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(setup_env, "DETECTRON2", replace(setup_env.DETECTRON2, sha256="0" * 64))
    assert setup_env.main(repo, runner) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "checksum of sal_detectron2-0.7.2-cp310-none-any.whl is wrong" in error
    assert "Installing Detectron2" not in runner.take()
    assert not list(repo.rglob("*.whl"))


def test_a_detectron2_of_the_users_own_is_kept(
    repo: Path,
    runner: FakeRunner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(setup_env.Setup, "_has_official_detectron2", lambda self: True)
    assert setup_env.main(repo, runner) == 0
    assert "Installing Detectron2" not in runner.take()
    assert "keeping the Detectron2" in capsys.readouterr().out


def test_a_broken_environment_is_made_anew(repo: Path, runner: FakeRunner) -> None:
    python = repo / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/nowhere/python3")
    assert setup_env.main(repo, runner) == 0
    assert runner.take()[0] == "Making .venv"
    assert "--clear" in runner.commands["Making .venv"]


def test_too_little_disk_is_told_before_anything_is_installed(
    repo: Path,
    runner: FakeRunner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(setup_env, "NEEDED_GB", 10**9)
    assert setup_env.main(repo, runner) == 1
    assert runner.take() == []
    assert "needs about 1000000000 GB" in capsys.readouterr().err


def test_a_python_without_venv_is_told(
    repo: Path,
    runner: FakeRunner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    false = shutil.which("false")
    assert false is not None
    monkeypatch.setattr(setup_env, "find_python", lambda: false)
    assert setup_env.main(repo, runner) == 1
    assert runner.take() == []
    assert "python3-venv" in capsys.readouterr().err


def test_another_fitting_python_on_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_env, "PYTHON_RANGE", ((3, 98), (3, 99)))
    other = tmp_path / "python3.98"
    other.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup_env.find_python() == str(other)


def test_no_fitting_python_names_the_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_env, "PYTHON_RANGE", ((3, 98), (3, 99)))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match=r"need Python 3\.98 to 3\.99; .*PYTHON=python3\.99"):
        setup_env.find_python()


def test_a_second_set_up_waits_for_the_first(
    repo: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / ".cache").mkdir()
    with (repo / ".cache" / "setup.lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = threading.Thread(target=setup_env.main, args=(repo, runner))
        second.start()
        second.join(timeout=0.5)
        assert second.is_alive()
        assert runner.steps == []
    second.join(timeout=60)
    assert runner.take() == ALL_STEPS
    assert "waiting for it" in capsys.readouterr().out


def test_stopping_it_leaves_no_traceback(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(command: Sequence[str | Path], log: Path, step: str) -> None:
        raise KeyboardInterrupt

    assert setup_env.main(repo, interrupt) == 130
    assert "run it again" in capsys.readouterr().err


def test_every_pin_is_exact() -> None:
    for name in ("build.txt", "runtime.txt", "dev.txt"):
        text = (setup_env.REPO / "requirements" / name).read_text()
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert lines
        assert all("==" in line.split(";")[0] for line in lines), name
