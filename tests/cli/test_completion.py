from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from centernet2.cli.main import COMMANDS

Run = Callable[..., tuple[int, str, str]]
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@needs_bash
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pre"], ["predict"]),
        ([""], sorted(COMMANDS)),
        (["predict", "--score"], ["--score-thresh"]),
        (["completion", "z"], ["zsh"]),
        (["doctor", "--no-"], ["--no-images"]),
    ],
)
def test_bash_completes(words: list[str], expected: list[str], run: Run, tmp_path: Path) -> None:
    status, script, _ = run("completion", "bash")
    assert status == 0
    (tmp_path / "script.sh").write_text(script)
    typed = " ".join(f'"{word}"' for word in ["centernet2", *words])
    code = f"""
        source {tmp_path / "script.sh"}
        complete -p centernet2 > /dev/null || exit 3
        COMP_WORDS=({typed}) COMP_CWORD={len(words)}
        $(complete -p centernet2 | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert sorted(set(done.stdout.split()) - {"--help", "--version", "-h"}) == expected


def test_zsh_gets_a_script_too(run: Run) -> None:
    status, script, _ = run("completion", "zsh")
    assert status == 0
    assert script.startswith("#compdef centernet2")


def test_unknown_shell_is_refused(run: Run) -> None:
    with pytest.raises(SystemExit) as ended:
        run("completion", "fish")
    assert ended.value.code == 2
