"""The table in a terminal, fitted to its width by rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from peftkit.reports.comparison import Comparison

MOVED = (
    "tokens_per_second",
    "trainable_share",
    "adapter_bytes",
    "train_seconds",
    "samples_per_second",
    "trainable_parameters",
    "peak_memory_bytes",
)
"""Costs that go to a table below in a narrow terminal, the first of these first; scores but the first go before the
last two."""
TITLE_WIDTH = 20
"""Characters to which titles are broken before a column moves below."""
GAP = 2
"""Characters between columns: the one of the box and the padding."""
COLOURS = {"ok": "green", "failed": "red", "out-of-memory": "yellow", "interrupted": "yellow"}


def write(comparison: Comparison, width: int) -> str:
    """The table as plain text, no line longer than `width` characters."""
    console = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        draw(comparison, console)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def draw(comparison: Comparison, console: Console) -> None:
    """Prints the table, the errors of rows that did not end well, the caption and the notes.

    Columns that a narrow terminal has no room for follow in a second table below, in a third, …
    """
    left = list(comparison.shown)
    while left:
        for names, stacked in layouts(comparison, left):
            table = build(comparison, names, stacked)
            if sum((column.min_width or 0) + GAP for column in table.columns) <= console.width:
                break
        console.print(table)
        console.print()
        left = [name for name in left if name not in names] if names else []
    for row in comparison.rows:
        for error in row.errors:
            console.print(Text(f"{row.title}: {error}", style="red"))
    console.print(Text(comparison.caption, style="dim"))
    for note in comparison.notes:
        console.print(Text(f"Note: {note}", style="yellow"))


def layouts(comparison: Comparison, names: list[str]) -> Iterator[tuple[list[str], bool]]:
    """What to try of the columns `names`, widest first, and whether deviations stand under their means."""
    yield names, False
    yield names, True
    scores = [name for name in names if comparison.columns[name].score]
    for moved in (*MOVED[:-2], *scores[:0:-1], *MOVED[-2:]):
        names = [name for name in names if name != moved] or names
        yield names, True


def build(comparison: Comparison, names: Sequence[str], stacked: bool) -> Table:
    """A table of the columns `names`. Titles and statuses may wrap, numbers may not."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    columns = [comparison.columns[name] for name in names]
    headers = [column.header.replace(" ", "\n") for column in columns]
    lift = "\n" if any("\n" in header for header in headers) else ""
    titles = [row.title for row in comparison.rows]
    table.add_column(Text(f"{lift}method"), overflow="fold", min_width=min(TITLE_WIDTH, max(map(len, titles))))
    cells: list[list[Text]] = [[Text(title) for title in titles]]
    for column, header in zip(columns, headers, strict=True):
        texts = [row.text(column, stacked=stacked) for row in comparison.rows]
        width = max(len(line) for text in (header, *texts) for line in text.splitlines())
        lifted = header if "\n" in header else f"{lift}{header}"
        table.add_column(Text(lifted), justify="right", no_wrap=True, min_width=width)
        styles = ["bold" if row is comparison.best(column) else "" for row in comparison.rows]
        cells.append([Text(text, style) for text, style in zip(texts, styles, strict=True)])
    if not comparison.all_ok:
        words = [word for row in comparison.rows for word in row.status.split()]
        table.add_column(Text(f"{lift}status"), min_width=max(map(len, words)))
        cells.append([Text(row.status, COLOURS.get(row.status, "yellow")) for row in comparison.rows])
    for line in zip(*cells, strict=True):
        table.add_row(*line)
    return table
