from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pip_runner import CommandError, explain_failure, pip_environment, run_logged


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_goes_to_the_log_and_not_to_the_screen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "made" / "setup.log"
    run_logged(python("print('first')"), log, "One")
    run_logged(python("import sys; print('second', file=sys.stderr)"), log, "Two")
    text = log.read_text()
    assert text.index("first\n") < text.index("second\n")
    assert capfd.readouterr() == ("", "")


def test_an_explained_failure_is_one_sentence_with_the_log(tmp_path: Path) -> None:
    log = tmp_path / "setup.log"
    code = "print('OSError: [Errno 28] No space left on device'); raise SystemExit(1)"
    with pytest.raises(CommandError, match="The disk is full") as raised:
        run_logged(python(code), log, "Installing")
    assert raised.value.tail == ""
    assert raised.value.report().endswith(str(log))
    assert "Errno 28" not in raised.value.report()


def test_an_unknown_failure_shows_the_end_of_the_output(tmp_path: Path) -> None:
    code = "print(*range(100), sep='\\n'); raise SystemExit(3)"
    with pytest.raises(CommandError, match=r"^Building failed; ") as raised:
        run_logged(python(code), tmp_path / "setup.log", "Building")
    shown = raised.value.tail.splitlines()
    assert shown[-1] == "99"
    assert len(shown) < 20


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="absent-program does not start"):
        run_logged([tmp_path / "absent-program"], tmp_path / "setup.log", "Starting")


def test_a_terminal_sees_one_line_that_is_wiped_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    code = "import time; print('Collecting numpy', flush=True); time.sleep(1.2)"
    run_logged(python(code), tmp_path / "setup.log", "Installing")
    shown = capsys.readouterr().out
    assert "Collecting numpy" in shown
    assert "\n" not in shown
    assert shown.split("\r")[-2].strip() == ""


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk is full"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...: [Errno -3] "
            "Temporary failure in name resolution')'\n"
            "ERROR: No matching distribution found for torch==2.11.0",
            "registry cannot be reached",
        ),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED", "PIP_CERT"),
        ("/usr/bin/python3: No module named pip", "ensurepip"),
        ("ImportError: libGL.so.1: cannot open shared object file", "libgl1"),
        ("ERROR: No matching distribution found for av==18.1.0", "no build of av==18.1.0"),
        (
            "WARNING: Retrying after connection broken by 'RemoteDisconnected'\n"
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you ...\n"
            "    six==1.17.0 from https://mirror.example/six.whl#sha256=4721 (from -r dev.txt):\n"
            "        Expected sha256 0000\n"
            "        Expected     or 0001\n"
            "             Got        4721\n",
            "six==1.17.0 from https://mirror.example/six.whl is wrong (sha256 4721 is none of",
        ),
    ],
)
def test_known_failures_are_explained(output: str, sentence: str) -> None:
    explained = explain_failure(output)
    assert explained is not None
    assert sentence in explained
    assert "\n" not in explained


def test_an_unknown_failure_is_not_explained() -> None:
    assert explain_failure("error: command 'gcc' failed with exit code 1") is None


def test_pip_is_kept_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    env = pip_environment()
    assert "PYTHONPATH" not in env
    assert "PIP_TARGET" not in env
    assert env["PIP_USER"] == "0"
    assert env["PIP_INDEX_URL"] == "https://mirror.example/simple"
