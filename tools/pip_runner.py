"""Runs a command of the set-up: quiet while it works, one clear sentence when it fails.

Standard library only, since it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CommandError", "Runner", "explain_failure", "pip_environment", "run_logged"]

# What a line of pip's output or of an interpreter's means to the person who reads it. The first
# match wins: without a network pip also reports "No matching distribution".
CAUSES = (
    (
        r"No space left on device|Disk quota exceeded",
        "The disk is full: free some space (the environment takes about 6 GB, and pip as much "
        "again while it installs) and run this again.",
    ),
    (
        r"Temporary failure in name resolution|Name or service not known|nodename nor servname"
        r"|Failed to establish a new connection|NewConnectionError|Network is unreachable"
        r"|ConnectTimeout|ReadTimeoutError|Read timed out|ProxyError|Connection refused"
        r"|Connection reset|Max retries exceeded|RemoteDisconnected|ProtocolError",
        "The Python package registry cannot be reached: check the network (behind a proxy set "
        "HTTPS_PROXY, with a mirror set PIP_INDEX_URL) and run this again.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "The package registry's certificate is not trusted: set PIP_CERT to the file of your "
        "network's certificates and run this again.",
    ),
    (
        r"No module named '?pip\b",
        "This Python has no pip: install it with `python -m ensurepip` and run this again.",
    ),
    (
        r"libGL\.so|libgthread|libglib-2",
        "OpenCV lacks system libraries: install them (Debian, Ubuntu: sudo apt-get install -y "
        "libgl1 libglib2.0-0) and run this again.",
    ),
    (
        r"Permission denied|EnvironmentError: \[Errno 13\]|Read-only file system",
        "The set-up may not write here: make this folder, and pip's cache, yours and run this "
        "again.",
    ),
)
NO_BUILD = re.compile(r"No matching distribution found for (\S+)")
# pip's block on files that differ from their pins: "name==version from URL (from -r ...):", a line
# for each sha256 that would do, and the one that it got.
WRONG_HASH = re.compile(
    r"DO NOT MATCH THE HASHES.*?^ +(\S+) from ([^\s#]+)[^\n]*:$.*?^ +Got +([0-9a-f]+)",
    re.DOTALL | re.M,
)
UNHASHED = re.compile(r"Hashes are required in --require-hashes mode.*?^ +(\S+)", re.DOTALL | re.M)
TAIL_LINES = 12


class CommandError(Exception):
    """A command of the set-up failed; the text is one sentence for the user.

    Attributes:
        tail: the last lines of the command's output, empty when they would add nothing.
        log: the file that holds all of it, or None.
    """

    def __init__(self, sentence: str, tail: str = "", log: Path | None = None) -> None:
        super().__init__(sentence)
        self.tail = tail
        self.log = log

    def report(self) -> str:
        """The sentence, then the tail of the log and its path where there is one."""
        lines = [str(self)]
        if self.tail:
            lines += ["", self.tail]
        if self.log is not None:
            lines += ["", f"All of its output: {self.log}"]
        return "\n".join(lines)


class Runner(Protocol):
    """What :func:`run_logged` does, so that tests can put something else in its place."""

    def __call__(self, command: Sequence[str | Path], log: Path, step: str) -> None: ...


def explain_failure(output: str) -> str | None:
    """The sentence that names the cause found in a command's output, and the cure; else None."""
    wrong = WRONG_HASH.search(output)
    if wrong:
        package, source, sha256 = wrong.groups()
        return (
            f"The checksum of {package} from {source} is wrong (sha256 {sha256} is none of those"
            " that requirements/ names for it), so nothing of this step was installed: empty pip's"
            " cache (python -m pip cache purge) and try again, or check the mirror or proxy that"
            " served it."
        )
    unhashed = UNHASHED.search(output)
    if unhashed:
        return (
            f"The line {unhashed.group(1)} in requirements/ has no sha256, so nothing of this step"
            " was installed: make the lock files again as CONTRIBUTING.md tells"
            ' ("Changing a dependency").'
        )
    for pattern, sentence in CAUSES:
        if re.search(pattern, output):
            return sentence
    missing = NO_BUILD.search(output)
    if missing:
        version = "{}.{}".format(*sys.version_info)
        return (
            f"The registry has no build of {missing.group(1)} for this machine (Python {version},"
            f" {sys.platform}, {os.uname().machine}): use another Python (make PYTHON=python3.11)"
            " or install into an environment of your own (see README)."
        )
    return None


def pip_environment() -> dict[str, str]:
    """The caller's variables without those that would lead pip or Python out of the venv."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"}
    env = {key: value for key, value in os.environ.items() if key not in dropped}
    env.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    return env


def run_logged(command: Sequence[str | Path], log: Path, step: str) -> None:
    """Run a command with its output in `log`, showing only that it is alive.

    Args:
        command: the program and its arguments.
        log: appended to; its folder is made.
        step: what the command does, for the message of a failure ("Installing the packages").

    Raises:
        CommandError: the command could not start or exited with another status than 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(part) for part in command]
    output: list[str] = []
    with log.open("a", encoding="utf-8") as log_file:
        log_file.write(f"\n$ {' '.join(arguments)}\n")
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=pip_environment(),
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise CommandError(f"{step} failed: {arguments[0]} does not start ({error}).") from None
        assert process.stdout is not None
        reader = threading.Thread(target=_collect, args=(process.stdout, log_file, output))
        reader.start()
        try:
            _show_life(process, output)
        except BaseException:
            process.terminate()
            raise
        finally:
            reader.join()
    if process.returncode != 0:
        text = "".join(output)
        cause = explain_failure(text)
        if cause is not None:
            raise CommandError(cause, log=log)
        tail = "".join(output[-TAIL_LINES:]).rstrip()
        raise CommandError(f"{step} failed; the end of its output says why:", tail, log)


def _collect(stream: IO[str], log_file: IO[str], output: list[str]) -> None:
    for line in stream:
        output.append(line)
        log_file.write(line)
        log_file.flush()


def _show_life(process: subprocess.Popen[str], output: list[str]) -> None:
    """Wait for the end; on a terminal one line is rewritten, elsewhere one comes twice a minute."""
    start = time.monotonic()
    live = sys.stdout.isatty()
    interval, width = (0.5, 100) if live else (30.0, 76)
    while True:
        try:
            process.wait(timeout=interval)
            break
        except subprocess.TimeoutExpired:
            last = output[-1].strip() if output else ""
            text = f"      {time.monotonic() - start:4.0f} s  {last}"[:width]
            print(f"\r{text:<{width}}" if live else text, end="" if live else "\n", flush=True)
    if live:
        print("\r" + " " * width + "\r", end="", flush=True)
