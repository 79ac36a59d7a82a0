"""The doctor's findings as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

from centernet2.data.doctor.findings import Finding, Report
from centernet2.data.doctor.images import locate
from centernet2.data.doctor.kinds import KINDS
from centernet2.data.doctor.tables import read_file
from centernet2.data.doctor.thumbnail import thumbnail

__all__ = ["write_page"]

_LISTED, _DRAWN = 50, 8  # of each kind
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em;
color: #1a1a1a; background: #fff; overflow-wrap: anywhere; }
table { border-collapse: collapse; } td, th { border: 1px solid #ccc; padding: .3em .6em;
text-align: left; vertical-align: top; } th { background: #f2f2f2; }
td:first-child, td:nth-child(2) { white-space: nowrap; } td:nth-child(3) { text-align: right; }
.error { color: #b00020; } .warning { color: #8a5a00; } .info { color: #00639b; }
.figures { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; width: 240px; }
img { display: block; max-width: 100%; } figcaption, li { font-size: 13px; }
h2 { margin-top: 2em; border-top: 1px solid #ccc; padding-top: 1em; } ul { padding-left: 1.2em; }
@media (max-width: 700px) {
th { display: none; } table, tbody, tr, td { display: block; } td { border: 0; padding: 0; }
tr { border-bottom: 1px solid #ccc; padding: .6em 0; }
td:first-child, td:nth-child(2), td:nth-child(3) { display: inline; margin-right: .6em; }
td:nth-child(3)::before { content: "\\d7 "; } td:nth-child(5)::before { content: "Cure: "; }
figure { width: calc(50% - .5em); } }
"""


def write_page(report: Report, path: Path, roots: dict[str, Path]) -> None:
    """Write the report with a thumbnail of the first images of each kind.

    Args:
        report: of :func:`~centernet2.data.doctor.check_dataset`.
        path: the HTML file.
        roots: folder of images by annotation file; the images of other files are not drawn.
    """
    data = {file: read_file(Path(file))[0] for file in roots if file in report.sizes}
    counts = report.counts()
    parts = ["<h1>Dataset doctor</h1><ul>"]
    for file, sizes in report.sizes.items():
        words = ", ".join(f"{count:,} {section}" for section, count in sizes.items())
        parts.append(f"<li>{escape(file)}: {words}</li>")
    parts.append("</ul><table><tr><th>severity<th>kind<th>count<th>what<th>cure</tr>")
    for name, count in counts.items():
        kind = KINDS[name]
        parts.append(
            f'<tr><td class="{kind.severity}">{kind.severity}<td><a href="#{name}">{name}</a>'
            f"<td>{count:,}<td>{escape(kind.text)}<td>{escape(kind.cure)}</tr>"
        )
    parts.append("</table>" if counts else "</table><p>Nothing was found.</p>")
    for name, count in counts.items():
        findings = [finding for finding in report.findings if finding.kind == name]
        parts.append(f'<h2 id="{name}" class="{KINDS[name].severity}">{name} ({count:,})</h2>')
        parts.append(f"<p>{escape(KINDS[name].text)}. Cure: {escape(KINDS[name].cure)}.</p>")
        figures = "".join(_figures(finding, data, roots) for finding in findings[:_DRAWN])
        parts.append(f'<div class="figures">{figures}</div>' if figures else "")
        lines = (_joined(finding.place, finding.detail) for finding in findings[:_LISTED])
        parts.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")
        if count > _LISTED:
            parts.append(f"<p>and {count - _LISTED:,} more</p>")
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Dataset doctor</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _figures(finding: Finding, data: dict[str, Any], roots: dict[str, Path]) -> str:
    """Thumbnails of what it is about; empty where no image can be shown."""
    if not finding.image or finding.file not in data:
        return ""
    record = data[finding.file][finding.section][finding.index]
    annotation = record if finding.section == "annotations" else None
    caption = _joined(finding.image, finding.detail)
    text = _figure(roots[finding.file], finding.image, annotation, caption)
    if finding.twin is not None and finding.twin[0] in roots:
        file, name = finding.twin
        text += _figure(roots[file], name, None, f"{name} of {file}")
    return text


def _figure(root: Path, name: str, annotation: dict[str, Any] | None, caption: str) -> str:
    place, wrong = locate(root, name, by_url=True)
    if wrong:
        return ""
    try:
        picture = thumbnail(place, annotation)
    except Exception:  # what is wrong with it stands in the list
        return ""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    content = base64.b64encode(stream.getvalue()).decode("ascii")
    return (
        f'<figure><img src="data:image/jpeg;base64,{content}" alt="{escape(name)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _joined(place: str, detail: str) -> str:
    return f"{place}: {detail}" if detail else place
