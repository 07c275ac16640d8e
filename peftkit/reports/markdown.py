"""The table in Markdown (GitHub's tables)."""

from __future__ import annotations

import re

from peftkit.reports.comparison import Comparison, Row

SPECIAL = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)")
"""What Markdown would read as markup; an underscore inside a word is safe."""


def write(comparison: Comparison, width: int) -> str:
    """The table, the errors, the caption and the notes; best scores bold. `width` is of no account."""
    headers = ["method", *(column.header for column in comparison.shown.values())]
    lines = [_line([escape(header) for header in headers] + ([] if comparison.all_ok else ["status"]))]
    aligned = [":---", *["---:"] * (len(headers) - 1)] + ([] if comparison.all_ok else [":---"])
    lines.append(_line(aligned))
    lines += [_line(_cells(comparison, row)) for row in comparison.rows]
    errors = [f"- {escape(row.title)}: {escape(error)}" for row in comparison.rows for error in row.errors]
    paragraphs = ["\n".join(lines), "\n".join(errors), escape(comparison.caption)]
    paragraphs += [f"**Note:** {escape(note)}" for note in comparison.notes]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def escape(text: str) -> str:
    """`text` as Markdown that reads like it, on one line."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _cells(comparison: Comparison, row: Row) -> list[str]:
    cells = [escape(row.title)]
    for column in comparison.shown.values():
        text = row.text(column)
        cells.append(f"**{text}**" if comparison.best(column) is row else text)
    return cells if comparison.all_ok else [*cells, row.status]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
