"""``centernet2 completion``: a script that completes the command in the shell.

The script is made once and holds all options, so pressing Tab starts no Python.
"""

from __future__ import annotations

import argparse
import sys

from centernet2.cli.arguments import new_parser

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  bash:
    mkdir -p ~/.local/share/bash-completion/completions
    centernet2 completion bash > ~/.local/share/bash-completion/completions/centernet2
  zsh (a folder of $fpath):
    centernet2 completion zsh > ~/.zfunc/_centernet2
"""


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 completion",
        "Print a script with which the shell completes commands and options.",
        _EXAMPLES,
    )
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the script.

    Returns:
        The exit status.
    """
    try:
        import shtab
    except ModuleNotFoundError:
        print("error: this needs the package shtab: pip install shtab", file=sys.stderr)
        return 2
    from centernet2.cli.main import full_parser

    print(shtab.complete(full_parser(), args.shell))
    return 0
