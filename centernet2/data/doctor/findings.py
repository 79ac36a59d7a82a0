"""What the doctor found, and the report that holds it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from centernet2.data.doctor.kinds import KINDS, SEVERITIES, Kind

__all__ = ["Finding", "Report", "printable", "shown"]


def printable(value: object) -> str:
    """``value`` as text that any UTF-8 file and terminal can take, at most 200 characters."""
    text = str(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 200 else text[:197] + "..."


def shown(value: object) -> str:
    """A JSON value as it would be typed, shortened; never raises."""
    try:
        return printable(repr(value))
    except (RecursionError, ValueError):  # lists in lists in lists; thousands of digits
        return f"a {type(value).__name__} beyond printing"


@dataclass(frozen=True)
class Finding:
    """One mistake at one place.

    Attributes:
        kind: a name in :data:`~centernet2.data.doctor.kinds.KINDS`.
        file: the JSON file.
        section: ``images``, ``annotations`` or ``categories``; empty for the whole file.
        index: position in that list, from 0; ``None`` for the whole list.
        id: the record's ``id`` as the file has it.
        image: file name of the image that it concerns, where known.
        detail: what exactly is the matter, with values.
        part: which polygon of an annotation, from 0, where it is about one.
        twin: annotation file and name of another image that it is about.
    """

    kind: str
    file: str
    section: str = ""
    index: int | None = None
    id: Any = None
    image: str = ""
    detail: str = ""
    part: int | None = None
    twin: tuple[str, str] | None = None

    @property
    def about(self) -> Kind:
        """Severity, text and cure of this kind."""
        return KINDS[self.kind]

    @property
    def place(self) -> str:
        """File, record and image in words."""
        words = [self.file]
        if self.index is not None:
            words.append(f"{self.section}[{self.index}] (id {shown(self.id)})")
        if self.image:
            words.append(self.image)
        return ", ".join(words)

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "kind": self.kind,
            "severity": self.about.severity,
            "file": self.file,
            "section": self.section,
            "index": self.index,
            "id": self.id if isinstance(self.id, int) else shown(self.id),
            "image": self.image,
            "detail": self.detail,
            "cure": self.about.cure,
        }


@dataclass
class Report:
    """All findings of one or two files.

    Attributes:
        findings: in the order of the checks.
        sizes: records of each file: ``{file: {"images": n, "annotations": n, "categories": n}}``.
    """

    findings: list[Finding] = field(default_factory=list)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def of_severity(self, severity: str) -> list[Finding]:
        """The findings that are ``error``, ``warning`` or ``info``."""
        return [finding for finding in self.findings if finding.about.severity == severity]

    def counts(self) -> dict[str, int]:
        """Number of findings by kind, the gravest first."""
        found = Counter(finding.kind for finding in self.findings)
        grave = {severity: rank for rank, severity in enumerate(SEVERITIES)}
        order = sorted(found, key=lambda name: (grave[KINDS[name].severity], -found[name], name))
        return {name: found[name] for name in order}

    @property
    def exit_status(self) -> int:
        """1 with errors, 0 without."""
        return int(bool(self.of_severity("error")))

    def as_json(self) -> dict[str, Any]:
        """As a JSON object: sizes, counts by kind, findings."""
        return {
            "files": self.sizes,
            "counts": self.counts(),
            "findings": [finding.as_json() for finding in self.findings],
        }
