"""One HTML page without outside resources."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["facts", "figure", "lines", "page", "row", "table", "text"]

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:66rem;padding:1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
.wide{overflow-x:auto}table{border-collapse:collapse}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}
.long{max-height:36rem;overflow:auto;font-size:.8rem}.long td,.long th{padding:.2rem .35rem}
.long thead th{position:sticky;top:0;background:#fff;vertical-align:bottom}
table.sort th{cursor:pointer;text-decoration:underline dotted}
figure{margin:1rem 0}figcaption{color:#555;font-size:.9em;overflow-wrap:anywhere}
img{max-width:100%;height:auto;display:block}.wide img{max-width:none}p.note{color:#555}
.row{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.row figure{flex:1 1 22rem;min-width:0;margin:0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0}
dt{color:#555}dd{margin:0;overflow-wrap:anywhere}
"""
_SCRIPT = """
document.querySelectorAll("table.sort th").forEach((th,c)=>th.onclick=()=>{
 const body=th.closest("table").tBodies[0],up=th.dataset.up=th.dataset.up==="1"?"0":"1";
 const key=r=>r.cells[c].textContent,num=v=>v==="–"?-1:Number(v);
 const order=(a,b)=>isNaN(num(a)-num(b))?a.localeCompare(b):num(a)-num(b);
 [...body.rows].sort((a,b)=>(up==="1"?1:-1)*order(key(a),key(b))).forEach(r=>body.append(r))});
"""


def text(value: object) -> str:
    """A cell's text: numbers with one decimal, "–" for NaN."""
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.1f}"
    return str(value)


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, sortable: bool = False
) -> str:
    """HTML of a table; names are escaped.

    Args:
        header: of the columns.
        rows: numbers and texts.
        sortable: by a click on a heading; such a table scrolls in a window of its own.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    kind, box = (' class="sort"', "long") if sortable else ("", "wide")
    return (
        f'<div class="{box}"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(values: Mapping[str, str]) -> str:
    """HTML of names and texts, a line for each that has a text."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in values.items()
        if value
    )
    return f"<dl>{rows}</dl>"


def lines(texts: Iterable[str]) -> str:
    """HTML of a list."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def figure(
    picture: bytes,
    description: str,
    caption: str = "",
    *,
    kind: str = "png",
    scrolls: bool = False,
) -> str:
    """HTML of a picture that travels inside the page.

    Args:
        picture: the file.
        description: for those who do not see it.
        caption: below it; none if empty.
        kind: "png" or "jpeg".
        scrolls: keeps its size in a narrow window; else it shrinks.
    """
    data = base64.b64encode(picture).decode("ascii")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    image = f'<img src="data:image/{kind};base64,{data}" alt="{escape(description)}"/>'
    box = ' class="wide"' if scrolls else ""
    return f"<figure><div{box}>{image}</div>{below}</figure>"


def row(figures: Iterable[str]) -> str:
    """HTML of figures side by side where the window is wide enough."""
    return f'<div class="row">{"".join(figures)}</div>'


def page(title: str, sections: Mapping[str, Sequence[str]]) -> str:
    """The whole page.

    Args:
        title: plain text.
        sections: heading (plain text) and pieces of HTML of each.
    """
    parts = "".join(f"<h2>{escape(name)}</h2>{''.join(html)}" for name, html in sections.items())
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{parts}<script>//<![CDATA[{_SCRIPT}//]]></script></body></html>"
    )
