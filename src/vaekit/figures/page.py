"""The frame of all pages: one HTML file that contains its style, light or dark, for any width."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from vaekit.figures.section import Section


def document(title: str, body: str) -> str:
    """A whole page; `title` is text, `body` HTML."""
    title = html.escape(title)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>
<h1>{title}</h1>{body}</html>
"""


def written(sections: Iterable[Section]) -> str:
    """Sections one below the other."""
    return "".join(f"{_heading(part.title)}<p>{part.caption}</p>{part.body}" for part in sections)


def _heading(title: str) -> str:
    return f"<h2>{title}</h2>" if title else ""


def measures(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: the first column names a measure, the last says what it means, numbers are between.

    On a narrow screen each number is shown below its column's name. Cells are HTML.
    """
    first, *names, last = heads
    beside = ' class="beside"' if len(names) > 1 else ""
    head = "".join(f"<th>{name}</th>" for name in (first, *names, last))
    lines = "".join(f"<tr>{_cells(names, row)}</tr>" for row in rows)
    return f"<table{beside}><tr class=head>{head}</tr>{lines}</table>"


def _cells(names: Sequence[str], row: Sequence[str]) -> str:
    first, *numbers, last = row
    of = [f' data-of="{name}"' if len(names) > 1 else "" for name in names]
    between = "".join(
        f"<td class=n{label}>{cell}</td>" for label, cell in zip(of, numbers, strict=True)
    )
    return f"<td>{first}</td>{between}<td>{last}</td>"


_STYLE = """:root{color-scheme:light dark;--ink:#1f2937;--soft:#4b5563;--line:#e5e7eb;--paper:#fff;--box:#f8fafc}
@media(prefers-color-scheme:dark){:root{--ink:#e5e7eb;--soft:#9ca3af;--line:#374151;--paper:#111827;--box:#1f2937}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;overflow-wrap:break-word}
body{color:var(--ink);background:var(--paper)}p{color:var(--soft)}pre,code,.cut,.said li{background:var(--box)}
img{max-width:100%;box-sizing:border-box;display:block;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;width:100%}
table.rows td,table.rows th{font-size:.8rem;display:table-cell}
td,th{border-bottom:1px solid var(--line);padding:.35rem .6rem;text-align:left}
.n{font-variant-numeric:tabular-nums;white-space:nowrap}.cut{border-left:4px solid #d97706;padding:.5rem .8rem}
.said{list-style:none;padding:0}.said li{border-left:4px solid #d97706;padding:.5rem .8rem;margin:.4rem 0}
.said .good{border-color:#059669}.said .bad{border-color:#dc2626}.said small{color:var(--soft);display:block}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}pre{padding:1rem;overflow:auto}code{display:block;white-space:nowrap;overflow-x:auto}.wide{overflow-x:auto}
@media(max-width:40rem){.wide img{max-width:50rem}.head{display:none}table,tbody{display:block}
tr{display:grid;grid-template-columns:1fr auto;border-bottom:1px solid var(--line);padding:.4rem 0}
.beside tr{grid-template-columns:1fr 1fr}.beside td:first-child{grid-column:1/-1}
[data-of]::before{content:attr(data-of);color:var(--soft);display:block;font-size:.8rem}
td{border:0;padding:0}td:first-child{font-weight:600}td:last-child{grid-column:1/-1;color:var(--soft)}}"""
