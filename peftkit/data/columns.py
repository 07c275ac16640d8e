"""Rows as the columns of a table, with nothing hidden in the kind of a column."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from peftkit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]
SOURCE = ("data", "source")


def table(parts: Sequence[tuple[str, Sequence[Row]]]) -> Dataset:
    """All rows, part after part, with a column for every key that any row has. A part has a name for errors.

    Raises:
        UserError: a cell is of another kind than those above it; the message names its part and the row in it.
    """
    import pyarrow
    from datasets import Dataset

    rows = [row for _, part in parts for row in part]
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    for name, cells in columns.items():
        if not _fits(cells):
            row = bisect_left(range(1, len(cells) + 1), True, key=lambda count: not _fits(cells[:count]))
            ends = list(accumulate(len(part) for _, part in parts))
            which = next(number for number, end in enumerate(ends) if row < end)
            number = row - ends[which] + len(parts[which][1]) + 1
            shown = " ".join(f"{cells[row]!r:.60}".split())
            beside = " beside the rows above it" if row else ""
            raise UserError(f"{parts[which][0]}: row {number}: column {name!r} cannot hold {shown}{beside}", SOURCE)
    return Dataset(pyarrow.table(columns))


def plain(rows: Dataset) -> Dataset:
    """Class numbers (datasets' ClassLabel), in lists too, become the names they stand for; -1, the hub's word for
    hidden, missing.

    Files kept in cells (images, audio, video) stay as they are, ``{"bytes": …, "path": …}``: how they are decoded is
    the task's choice.
    """
    import pyarrow
    from datasets import Audio, Dataset, DatasetInfo, Features, Image, Video

    rows = rows.with_format(None)
    kinds = dict(rows.features)
    for column, kind in rows.features.items():
        if isinstance(kind, Audio | Image | Video):
            kinds[column] = type(kind)(decode=False)
        elif _holds_classes(kind):
            kinds[column] = _named_kind(kind)
    if kinds == rows.features:
        return rows
    cells = rows.with_format("arrow")[
        :
    ]  # not datasets' own changes of columns: those may write a cache beside the rows
    for place, (column, kind) in enumerate(rows.features.items()):
        if _holds_classes(kind):
            names = [_named(cell, kind) for cell in cells[column].to_pylist()]
            form = Features({column: kinds[column]}).arrow_schema.field(column).type
            cells = cells.set_column(place, column, pyarrow.array(names, form))
    return Dataset(cells.replace_schema_metadata(None), info=DatasetInfo(features=Features(kinds)))


def _holds_classes(kind: Any) -> bool:
    """Whether cells are class numbers, or lists of them."""
    from datasets import ClassLabel, LargeList, List

    return _holds_classes(kind.feature) if isinstance(kind, List | LargeList) else isinstance(kind, ClassLabel)


def _named_kind(kind: Any) -> Any:
    """The kind of the column once numbers are names."""
    from datasets import ClassLabel, Value

    return Value("string") if isinstance(kind, ClassLabel) else replace(kind, feature=_named_kind(kind.feature))


def _named(cell: Any, kind: Any) -> Any:
    """A cell's class numbers as names; missing stays missing."""
    if isinstance(cell, list):
        return [_named(one, kind.feature) for one in cell]
    return None if cell is None or cell < 0 else kind.int2str(cell)


def _fits(cells: list[Any]) -> bool:
    """Whether the cells are of one kind, so that they form a column."""
    import pyarrow

    try:
        pyarrow.array(cells)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True
