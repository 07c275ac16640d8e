"""Rows as the columns of a table, with nothing hidden in the kind of a column."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from peftkit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]
SOURCE = ("data", "source")
MISFIT = "__misfit__"
"""A column beside the data's own, there where rows have a cell of another kind than most in its column: the name of
that column, for whoever must tell why the row cannot be read. The cell itself is empty."""


def table(parts: Sequence[tuple[str, Sequence[Row]]], *, keep_misfits: bool = False) -> Dataset:
    """All rows, part after part, with a column for every key that any row has. A part has a name for errors.

    With `keep_misfits` a row whose cell is of another kind than most in its column stays, marked in `MISFIT`.

    Raises:
        UserError: a cell is of another kind than those above it; the message names its part and the row in it.
    """
    import pyarrow
    from datasets import Dataset

    rows = [row for _, part in parts for row in part]
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    misfits: dict[int, str] = {}
    for name, cells in columns.items():
        if keep_misfits:
            for row in list(_misfits(cells)):
                misfits.setdefault(row, name)
                cells[row] = None
        elif not _fits(cells):
            row = bisect_left(range(1, len(cells) + 1), True, key=lambda count: not _fits(cells[:count]))
            ends = list(accumulate(len(part) for _, part in parts))
            which = next(number for number, end in enumerate(ends) if row < end)
            number = row - ends[which] + len(parts[which][1]) + 1
            shown = " ".join(f"{cells[row]!r:.60}".split())
            beside = " beside the rows above it" if row else ""
            raise UserError(f"{parts[which][0]}: row {number}: column {name!r} cannot hold {shown}{beside}", SOURCE)
    if misfits:
        columns[MISFIT] = [misfits.get(number) for number in range(len(rows))]
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


def _misfits(cells: list[Any]) -> Iterator[int]:
    """Places of the cells that are of another kind than most; what is left forms a column."""
    if _fits(cells):
        return
    kinds = [_kind(cell) for cell in cells]
    usual = Counter(kind for kind in kinds if kind is not None).most_common(1)[0][0]
    kept: list[int] = []
    for place, kind in enumerate(kinds):
        if kind in (None, usual):
            kept.append(place)
        else:
            yield place
    while not _fits([cells[place] for place in kept]):  # of like kinds, and yet unlike inside: objects, long numbers
        last = bisect_left(
            range(1, len(kept) + 1), True, key=lambda count: not _fits([cells[place] for place in kept[:count]])
        )
        yield kept.pop(last)


def _kind(cell: Any) -> str | None:
    """What a cell is, as JSON tells values apart; of a list also what it holds. None for an empty cell or list."""
    if isinstance(cell, bool):
        return "bool"
    if isinstance(cell, int | float):
        return "number"
    if isinstance(cell, list):
        inside = sorted({kind for one in cell if (kind := _kind(one)) is not None})
        return f"list of {', '.join(inside)}" if inside else None
    return None if cell is None else type(cell).__name__


def _fits(cells: list[Any]) -> bool:
    """Whether the cells are of one kind, so that they form a column."""
    import pyarrow

    try:
        pyarrow.array(cells)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True
