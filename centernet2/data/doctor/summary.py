"""The doctor's findings in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from centernet2.data.doctor.findings import Report
from centernet2.data.doctor.kinds import KINDS

__all__ = ["print_report"]

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def print_report(report: Report, console: Console, examples: int = 3) -> None:
    """Print a table of kinds, with the first places of each and its cure.

    Args:
        report: of :func:`~centernet2.data.doctor.check_dataset`.
        console: where to.
        examples: places that are named of each kind.
    """
    for file, sizes in report.sizes.items():
        words = ", ".join(f"{count:,} {section}" for section, count in sizes.items())
        console.print(f"{escape(file)}: {words}")
    counts = report.counts()
    if counts:
        whole = (Column(name, no_wrap=True) for name in ("severity", "kind", "count"))
        table = Table(*whole, "what", "cure")
        for name, count in counts.items():
            kind = KINDS[name]
            severity = f"[{_STYLES[kind.severity]}]{kind.severity}[/]"
            table.add_row(severity, name, f"{count:,}", escape(kind.text), escape(kind.cure))
        console.print(table)
    for name, count in counts.items():
        console.print(f"[{_STYLES[KINDS[name].severity]}]{name}[/]")
        places = [finding for finding in report.findings if finding.kind == name]
        for finding in places[:examples]:
            detail = f": {finding.detail}" if finding.detail else ""
            console.print(escape(f"  {finding.place}{detail}"), highlight=False, soft_wrap=True)
        if count > examples:
            console.print(f"  and {count - examples:,} more")
    found = ", ".join(
        f"{len(report.of_severity(severity)):,} {word}"
        for severity, word in (("error", "errors"), ("warning", "warnings"), ("info", "notes"))
    )
    console.print(found)
