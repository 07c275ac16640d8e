"""Records side by side: a pure function of records to a table, a page or data. Loads no model and no torch.

A row is a recipe; runs that differ in their seed alone share it. A new format is one file and one line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peftkit.errors import UserError, unknown
from peftkit.record import Record, load_records
from peftkit.reports import delimited, html, markdown, structured, table
from peftkit.reports.comparison import Comparison, compare

if TYPE_CHECKING:
    from rich.console import Console

Source = str | Path | Sequence[Record]
"""A folder with records anywhere below it, one record's file, or the records themselves."""

FORMATS: dict[str, Callable[[Comparison, int], str]] = {
    "table": table.write,
    "md": markdown.write,
    "csv": delimited.write,
    "json": structured.write,
    "html": html.write,
}
"""What writes a comparison as text, given the characters that fit on a line (only `table` asks for them)."""

__all__ = ["FORMATS", "Comparison", "compare", "print_table", "report"]


def report(source: Source, format: str = "table", *, width: int = 120) -> str:
    """The records of `source` side by side, in one of `FORMATS`; ends with a newline.

    `width` is the number of characters that a line of the plain table may take. Rows stand in the order in which their
    first runs were started (`source` a folder) or are given (records). ``json`` alone carries the values of every run;
    ``csv`` has one line a row of the table, with the means and sample standard deviations as raw numbers.

    Raises:
        UserError: there is no such format, no record in `source`, or a file there that is not a record.
    """
    if format not in FORMATS:
        raise UserError(unknown("format", format, FORMATS))
    return FORMATS[format](compare(records_of(source)), width)


def print_table(console: Console, source: Source) -> None:
    """Prints the table with colours, fitted to the console's width. Raises UserError as `report` does."""
    table.draw(compare(records_of(source)), console)


def records_of(source: Source) -> Sequence[Record]:
    """The records of `source`. Raises UserError when there is none, or a file is not a record."""
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_file():
            return [Record.load(path)]
        return sorted((record for _, record in load_records(path)), key=lambda record: record.started)
    if not source:
        raise UserError("no records to report on")
    return source
