"""Markdown whose every string is data: nothing in it can open a table cell, a tag, a link or a block of its own."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any


def text(value: Any) -> str:
    """One line of plain text, with all that Markdown and HTML give a meaning to taken out of it."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]()#+!|~>-])", r"\\\1", html.escape(line, quote=False))


def code(value: Any) -> str:
    """One line of inline code, also in a table."""
    line = " ".join(str(value).split()).replace("|", "\\|")
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def block(content: str, language: str = "") -> str:
    """A fenced block, its fence longer than any in `content`."""
    fence = "`" * max(3, _longest_run(content) + 1)
    return f"{fence}{language}\n{content.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; the first column to the left, the others to the right."""
    lines = [head, [":---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: Any) -> str:
    """``1,234``, ``0.5252``, ``–`` for what was not measured."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _longest_run(content: str) -> int:
    return max((len(run) for run in re.findall("`+", content)), default=0)
