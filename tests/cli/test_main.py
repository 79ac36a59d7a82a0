from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from centernet2.cli.main import COMMANDS, full_parser, main
from centernet2.version import __version__

REPO = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().out
    assert ended.value.code == 0
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{summary}$", said, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: centernet2 {name} ")
    example = f"centernet2 {name}"
    assert example in said.partition("\nexamples:\n")[2]
    assert "train_net.py" not in said


def test_every_example_can_be_parsed() -> None:
    parser = full_parser()
    for name in COMMANDS:
        epilog = __import__(f"centernet2.cli.{name}", fromlist=["run"]).build_parser().epilog
        lines = epilog.replace("\\\n", "").splitlines()
        examples = [line.split(">")[0].split() for line in lines if f"centernet2 {name} " in line]
        assert examples
        for words in examples:
            rest = [word.strip("'\"") for word in words[words.index(name) :]]
            assert parser.parse_args(rest).command == name


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"centernet2 {__version__}\n"


def test_unknown_command_names_the_one_that_was_meant(run: Run) -> None:
    status, _, said = run("predcit", "a.jpg")
    assert status == 2
    assert said == "error: there is no command 'predcit'; did you mean predict?\n"
    status, _, said = run("xyz")
    assert status == 2
    assert said == f"error: there is no command 'xyz'; they are {', '.join(COMMANDS)}\n"


def test_help_needs_no_pytorch(tmp_path: Path) -> None:
    """The command, installed, where PyTorch is broken."""
    (tmp_path / "torch.py").write_text("raise OSError('broken')")
    script = tmp_path / "centernet2"
    script.write_text("import sys\nfrom centernet2.cli.main import main\nsys.exit(main())\n")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(REPO)!r}]; "
    code += f"sys.argv = [{str(script)!r}, *sys.argv[1:]]; exec(open(sys.argv[0]).read())"
    for arguments, status, text in (
        (["--help"], 0, "commands:"),
        (["info"], 1, "MISSING: PyTorch"),
    ):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert text in done.stdout
        assert "Traceback" not in done.stderr


def test_install_gives_the_command() -> None:
    assert '"centernet2 = centernet2.cli.main:main"' in (REPO / "setup.py").read_text()
