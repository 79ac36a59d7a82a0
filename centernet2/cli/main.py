"""The command ``centernet2`` and its list of commands.

Each command is a module that is imported when it is asked for, so that help is there at once and
``centernet2 info`` works where PyTorch does not. A module has ``build_parser()`` and
``run(args) -> status``.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from centernet2.version import __version__

__all__ = ["COMMANDS", "full_parser", "main"]

COMMANDS = {
    "predict": "find objects on images, folders and videos",
    "web": "a page in the browser: drop images and videos, see what models find",
    "train": "train a detector",
    "eval": "measure a detector on annotated images",
    "export": "write a model as a file for other runtimes",
    "doctor": "find what is wrong with a data set",
    "benchmark": "time models against each other",
    "chart": "draw accuracy against speed of models",
    "fetch": "get the weights of a model that are not part of this package",
    "info": "what is installed, which models are there, what a model is",
    "completion": "print a script that completes this command in the shell",
}

_EXAMPLES = """
examples:
  centernet2 predict street.jpg photos/ --output out/
  centernet2 doctor train.json images/
  centernet2 train --config-file configs/small/CenterNet2_MobileNetV2_pennfudan.yaml \\
      --data train.json images/ OUTPUT_DIR output/mine
  centernet2 eval --model output/mine
  centernet2 predict --model output/mine photos/ --output out/

`centernet2 COMMAND --help` has the options and examples of a command.
"""


def _top_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="centernet2",
        description="CenterNet2: train, use and measure detectors.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"centernet2 {__version__}")
    return parser


def full_parser() -> argparse.ArgumentParser:
    """The whole command line as one parser; imports every command."""
    parser = _top_parser()
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    for name, summary in COMMANDS.items():
        options = _module(name).build_parser()
        commands.add_parser(
            name,
            parents=[options],
            add_help=False,
            help=summary,
            description=options.description,
            prog=f"centernet2 {name}",
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status of the command; 2 for a command that there is not.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    if name in COMMANDS:
        command = _module(name)
        status: int = command.run(command.build_parser().parse_args(rest))
        return status
    if not name.startswith("-"):
        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {close[0]}?" if close else f"they are {', '.join(COMMANDS)}"
        print(f"error: there is no command {name!r}; {hint}", file=sys.stderr)
        return 2
    parser = _top_parser()
    parser.usage = "centernet2 COMMAND [OPTIONS]"
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {known:<{width}}  {text}" for known, text in COMMANDS.items())
    parser.description = f"{parser.description}\n\ncommands:\n{listed}"
    parser.parse_args([name])
    return 0


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"centernet2.cli.{name}")
