"""One kind of mistake, and how grave it may be."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SEVERITIES", "Kind"]

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        name: in reports and in JSON.
        severity: ``error`` (training or evaluation stops or is wrong), ``warning`` (probably a
            mistake) or ``info`` (good to know).
        text: what is the matter.
        cure: what the user does about it.
        fix: what ``--fix`` does, empty where it leaves the record as it is.
    """

    name: str
    severity: str
    text: str
    cure: str
    fix: str = ""
