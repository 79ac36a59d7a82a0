"""Kinds of values that options take, and what parsers have in common."""

from __future__ import annotations

import argparse

__all__ = ["new_parser", "positive", "probability"]


def new_parser(command: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser whose texts keep their line breaks.

    Args:
        command: what is typed before the options.
        description: what the command does.
        epilog: examples.
    """
    return argparse.ArgumentParser(
        prog=command,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def probability(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value
