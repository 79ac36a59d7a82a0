"""Errors whose text is meant for the user's eyes."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(Exception):
    """A mistake or limit that the user can cure.

    The text is one clear sentence or two that names the file, key or value and the cure; command
    lines print it without a traceback and end with ``exit_code``.
    """

    exit_code = 2
