"""The table as one self-contained page: asks for nothing else, sorts by a click on a header."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from peftkit.reports.comparison import Comparison, Row

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'">
<title>peftkit report</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c1c1e; --paper: #fff; --line: #d5d5da; --soft: #66666e; --warn: #a13c00; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #ececf0; --paper: #161618; --line: #3a3a40; --soft: #a0a0a8; --warn: #ffb37a; }}
}}
body {{ margin: 1.5rem auto; max-width: 80rem; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .4rem .75rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }}
th {{ vertical-align: bottom; }}
th:first-child {{ position: sticky; left: 0; max-width: 40vw; background: var(--paper); }}
th:first-child, .status {{ text-align: left; white-space: normal; overflow-wrap: break-word; }}
tbody th {{ font-weight: inherit; }}
th button {{ all: unset; cursor: pointer; font-weight: 600; }}
th button:focus-visible {{ outline: 2px solid; }}
[aria-sort=ascending] button::after {{ content: " ▲"; }}
[aria-sort=descending] button::after {{ content: " ▼"; }}
small {{ display: block; min-width: 16rem; }}
p {{ max-width: 60rem; color: var(--soft); font-size: .875rem; overflow-wrap: break-word; }}
.note, .status {{ color: var(--warn); }}
</style>
</head>
<body>
<h1>peftkit report</h1>
<div><table>
<thead><tr>{headers}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
{paragraphs}
<script>
document.querySelectorAll("thead th").forEach((header, place, headers) => {{
  const key = (row) => {{
    const {{ value }} = row.cells[place].dataset;
    return value === undefined ? row.cells[place].textContent : value === "" ? NaN : Number(value);
  }};
  header.firstChild.addEventListener("click", () => {{
    const up = header.getAttribute("aria-sort") !== "ascending", body = document.querySelector("tbody");
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const compare = (a, b) => typeof a === "string" ? a.localeCompare(b) : a - b;
    body.append(...[...body.rows].sort((a, b) => {{
      const [x, y] = [key(a), key(b)];
      return Number.isNaN(x) - Number.isNaN(y) || (up ? compare(x, y) : compare(y, x));
    }}));
  }});
}});
</script>
</body>
</html>
"""


def write(comparison: Comparison, width: int) -> str:
    """The page; every text that comes from a record is escaped. `width` is of no account."""
    headers = ["method", *(column.header for column in comparison.shown.values())]
    headers += [] if comparison.all_ok else ["status"]
    paragraphs = [f"<p>{escape(comparison.caption)}</p>"]
    paragraphs += [f'<p class="note">Note: {escape(note)}</p>' for note in comparison.notes]
    return PAGE.format(
        headers="".join(f'<th scope="col"><button>{escape(header)}</button></th>' for header in headers),
        rows="\n".join(f"<tr>{''.join(_cells(comparison, row))}</tr>" for row in comparison.rows),
        paragraphs="\n".join(paragraphs),
    )


def _cells(comparison: Comparison, row: Row) -> Iterator[str]:
    yield f'<th scope="row">{escape(row.title)}</th>'
    for column in comparison.shown.values():
        text, mean = escape(row.text(column)), row.mean(column)
        best = comparison.best(column) is row
        yield f'<td data-value="{"" if mean is None else mean}">{f"<strong>{text}</strong>" if best else text}</td>'
    if not comparison.all_ok:
        kind = "" if row.status == "ok" else ' class="status"'
        errors = "".join(f"<small>{escape(error)}</small>" for error in row.errors)
        yield f"<td{kind}>{escape(row.status)}{errors}</td>"
