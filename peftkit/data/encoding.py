"""Rows as examples, held in memory, with their lengths, how many were cut and which were dropped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peftkit.contracts import PLACE, ROW_NUMBER, Example, Task
from peftkit.data.cache import cached, key_of
from peftkit.data.columns import MISFIT
from peftkit.errors import RowError, UserError, suggest
from peftkit.examples.vocabulary import RESIZE, found_beyond
from peftkit.recipe import InvalidRows

if TYPE_CHECKING:
    from datasets import Dataset

BLOCK = 1000
"""Rows encoded in one call."""


@dataclass(frozen=True)
class Encoded:
    """The rows of one split as what goes through the model."""

    split: str
    examples: list[Example]
    """What goes through the model at a time; one or more a row."""
    owners: list[int]
    """The row of each example, in the order of the rows."""
    lengths: list[int]
    """Tokens of each example."""
    rows: Dataset
    """The rows that were kept."""
    references: list[Any]
    """What each row's prediction is compared with; empty for rows without labels."""
    cut: int
    """Rows of which a part did not fit the limit."""
    dropped: dict[str, int]
    """Rows that were left out: why → how many."""
    fingerprint: str
    """16 hex digits over the encoded content."""

    @property
    def numbers(self) -> list[int]:
        """The number of each row at the source, from 1."""
        known = ROW_NUMBER in self.rows.column_names
        return list(self.rows[ROW_NUMBER]) if known else list(range(1, len(self.rows) + 1))

    def __len__(self) -> int:
        return len(self.examples)

    def summary(self) -> dict[str, Any]:
        """What the record says of the split."""
        return {
            "rows": len(self.rows),
            "examples": len(self),
            "tokens": sum(self.lengths),
            "rows_cut": self.cut,
            "rows_dropped": self.dropped,
            "fingerprint": self.fingerprint,
        }


@dataclass
class Found:
    """The examples of the rows so far."""

    examples: list[list[Example]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def encode(
    rows: Dataset,
    task: Task,
    max_length: int | None,
    *,
    split: str = "data",
    invalid_rows: InvalidRows = "refuse",
    labelled: bool = True,
) -> Encoded:
    """All of `rows`, each cut to `max_length` tokens. What was encoded before from the same content is not done again.

    Raises:
        UserError: a row cannot be read, by its number; with `invalid_rows` ``drop`` only when none is left. No row
            with labels has anything to read.
    """
    key = key_of(rows, task, max_length, invalid_rows)
    found = cached(key, lambda: vars(_encode(rows, task, max_length, split, invalid_rows)))
    per_row, kept = found["examples"], found["kept"]
    if not per_row:
        raise UserError(f"split {split}: no row is left ({'; '.join(found['dropped'])})", ("data", "source"))
    if len(kept) < len(rows):
        rows = rows.select(kept)
    examples = [example for of_row in per_row for example in of_row]
    if labelled and not examples:
        raise UserError(f"split {split}: none of its rows has a part that the model can read", ("data", "source"))
    if task.beyond:
        _refuse_beyond(per_row, rows, task, split)
    return Encoded(
        split=split,
        examples=examples,
        owners=[number for number, of_row in enumerate(per_row) for _ in of_row],
        lengths=[task.length(example) for example in examples],
        rows=rows,
        references=[task.reference(row) for row in rows] if labelled else [],
        cut=sum(any(example.get("cut") for example in of_row) for of_row in per_row),
        dropped=dict(found["dropped"]),
        fingerprint=_fingerprint(per_row),
    )


def _fingerprint(per_row: list[list[Example]]) -> str:
    content = [[{name: e[name] for name in e if name != PLACE} for e in of_row] for of_row in per_row]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _refuse_beyond(per_row: list[list[Example]], rows: Dataset, task: Task, split: str) -> None:
    """Raises UserError where a row holds a token that the model has no embedding for."""
    for place, examples in enumerate(per_row):
        token = found_beyond(examples, task.beyond, labels=not task.adds_head)
        if token is not None:
            number = rows[place].get(ROW_NUMBER, place + 1)
            told = f"split {split}, row {number}: holds {task.beyond[token]!r}, token {token}, {RESIZE}"
            raise UserError(told, ("model", "name"))


def _encode(rows: Dataset, task: Task, max_length: int | None, split: str, invalid_rows: InvalidRows) -> Found:
    found = Found()
    for start in range(0, len(rows), BLOCK):
        block = {name: list(values) for name, values in rows[start : start + BLOCK].items()}
        try:
            examples = _examples(block, task, max_length)
        except RowError as error:
            if invalid_rows == "refuse":
                number = block[ROW_NUMBER][error.row] if ROW_NUMBER in block else start + error.row + 1
                raise UserError(f"split {split}, row {number}: {error}", error.key) from None
            _one_by_one(block, start, task, max_length, found)
            continue
        found.examples += examples
        found.kept += range(start, start + len(examples))
    return found


def _one_by_one(block: Mapping[str, list[Any]], start: int, task: Task, max_length: int | None, found: Found) -> None:
    """Encodes the rows that can be read, counts the others by the reason."""
    for number, row in enumerate(_single_rows(block), start):
        try:
            found.examples += _examples(row, task, max_length)
            found.kept.append(number)
        except RowError as error:
            found.dropped[error.kind] += 1


def _examples(block: Mapping[str, list[Any]], task: Task, max_length: int | None) -> list[list[Example]]:
    """The task's examples of rows none of whose cells is empty. Raises RowError.

    A column that the task cannot do without may be missing where rows are typed or given to predict from.
    """
    for number, column in enumerate(block.get(MISFIT, ())):
        if column is not None:
            raise RowError(f"column {column!r} holds another kind of value than in most rows", number)
    for setting, column in task.columns().items():
        for number, cell in enumerate(block.get(column, ())):
            if cell is None:  # the text formats have no word for a key that only other rows have
                raise RowError(f"column {column!r} is empty or absent", number, ("task", setting))
    try:
        return task.encode(block, max_length)
    except KeyError as error:
        if (column := error.args[0]) not in task.columns().values() or column in block:
            raise
        there = ", ".join(name for name in block if name not in (ROW_NUMBER, MISFIT))
        raise RowError(f"no column {column!r}{suggest(column, block)} (columns there: {there})") from None


def _single_rows(block: Mapping[str, list[Any]]) -> Iterator[dict[str, list[Any]]]:
    for number in range(len(next(iter(block.values())))):
        yield {name: values[number : number + 1] for name, values in block.items()}
