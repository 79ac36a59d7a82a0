from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Sequence
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


def write_wheel(folder: Path) -> str:
    """A wheel of the package ``small`` 1.0; returns its sha256."""
    info = "small-1.0.dist-info"
    members = {
        "small.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    path = folder / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def offline_setup(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[setup_env.Setup, str]:
    """A set-up that asks the real pip, without network, and leaves this environment as it is;
    and the sha256 of the package ``small`` 1.0, which is all that pip finds.
    """
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_DRY_RUN", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    setup = setup_env.Setup(repo)
    setup.python = Path(sys.executable)
    return setup, write_wheel(tmp_path)


INSTALLING_STEPS = [
    (setup_env.Setup.install_installer, "build.txt"),
    (setup_env.Setup.install_packages, "dev.txt"),
]


@pytest.mark.parametrize(("install", "lock_file"), INSTALLING_STEPS)
def test_pip_takes_the_file_that_has_the_pinned_sha256_and_no_other(
    offline_setup: tuple[setup_env.Setup, str],
    repo: Path,
    install: Callable[[setup_env.Setup], None],
    lock_file: str,
) -> None:
    setup, sha256 = offline_setup
    for name in ("build.txt", "runtime.txt", "dev.txt"):
        (repo / "requirements" / name).write_text("")
    pins = repo / "requirements" / lock_file

    pins.write_text(f"small==1.0 --hash=sha256:{'1' * 64} --hash=sha256:{sha256}\n")
    install(setup)
    assert "Would install small-1.0" in setup.log.read_text()

    setup.log.unlink()
    pins.write_text(f"small==1.0 --hash=sha256:{'1' * 64}\n")
    with pytest.raises(CommandError) as raised:
        install(setup)
    assert "\n" not in str(raised.value)
    assert raised.value.tail == ""
    assert f"{repo.parent}/small-1.0-py3-none-any.whl is wrong (sha256 {sha256} " in str(
        raised.value
    )
    assert "Would install" not in setup.log.read_text()

    pins.write_text("small==1.0\n")
    with pytest.raises(CommandError, match=r"^The line small==1\.0 in requirements/ has no sha256"):
        install(setup)
    assert "Would install" not in setup.log.read_text()


@pytest.mark.parametrize("name", ["build.txt", "runtime.txt", "dev.txt"])
def test_every_pin_is_exact_and_has_its_sha256(name: str) -> None:
    text = (setup_env.REPO / "requirements" / name).read_text()
    pins = text.replace("\\\n", " ").splitlines()[1:]
    assert pins
    for pin in pins:
        requirement, *hashes = pin.split("--hash=sha256:")
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+( +;.+)? +", requirement), pin
        assert hashes, pin
        assert all(re.fullmatch(r"[0-9a-f]{64} *", digest) for digest in hashes), pin


def test_packages_of_two_lock_files_are_pinned_alike() -> None:
    """pip takes a package that both name only if version and sha256 agree."""
    pins: dict[str, dict[str, str]] = {}
    for name in ("build.txt", "runtime.txt", "dev.txt"):
        text = (setup_env.REPO / "requirements" / name).read_text()
        for pin in text.replace("\\\n", " ").splitlines()[1:]:
            requirement, _, hashes = pin.partition("--hash")
            package, _, version = requirement.partition("==")
            pins.setdefault(package, {}).setdefault(version.split(";")[0].strip(), hashes)
            assert pins[package][version.split(";")[0].strip()] == hashes, (name, package)
