"""Answers with their places in a context, in the columns of SQuAD, checked before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar

from peftkit.errors import Key, RowError

Kind = TypeVar("Kind")
ANSWERS: Key = ("task", "answers")


class Answers:
    """Reads one column of cells ``{"text": […], "answer_start": […]}``; empty lists mean that there is no answer."""

    def __init__(self, column: str) -> None:
        self.column = column

    def none_in(self, cell: Any) -> bool:
        """Whether the cell says that its question has no answer."""
        return isinstance(cell, Mapping) and cell.get("text") == []

    def texts(self, cell: Mapping[str, Any]) -> list[str]:
        """The acceptable answers of a checked cell, each once, in their order."""
        return list(dict.fromkeys(cell["text"]))

    def checked(self, cell: Any, context: str, row: int) -> tuple[int, int] | None:
        """Where the first answer begins and ends in `context`, without blanks around it; None if there is none.

        Raises:
            RowError: the cell is of another shape, or one of its answers is not where it says.
        """
        given = cell if isinstance(cell, Mapping) else {}
        texts, starts = given.get("text"), given.get("answer_start")
        if isinstance(texts, list) and starts is None:
            told = f"column {self.column!r} holds answers without answer_start, the characters before each answer"
            raise RowError(told, row, ANSWERS)
        if not (_are(texts, str) and _are(starts, int) and len(texts) == len(starts)):
            shape = "{text: […], answer_start: […]} with as many texts as numbers"
            kind = f"column {self.column!r} does not hold {shape}"
            raise RowError(f"column {self.column!r} holds {cell!r:.60}, which is not {shape}", row, ANSWERS, kind)
        for text, start in zip(texts, starts, strict=True):
            if not text.strip():
                told = f"column {self.column!r} holds an empty answer; a question without one has empty lists"
                raise RowError(told, row, ANSWERS)
            if start < 0 or not context.startswith(text, start):
                raise _misplaced(text, start, context, row)
        if not texts:
            return None
        start = starts[0] + len(texts[0]) - len(texts[0].lstrip())
        return start, start + len(texts[0].strip())


def checked_text(cell: Any, column: str, setting: str, row: int) -> str:
    """The text in a cell. Raises RowError where it is none, or an empty one."""
    if not isinstance(cell, str):
        told = f"column {column!r} holds {cell!r:.60}, which is not text"
        raise RowError(told, row, ("task", setting), f"column {column!r} does not hold text")
    if not cell.strip():
        raise RowError(f"column {column!r} holds an empty text", row, ("task", setting))
    return cell


def _are(values: Any, kind: type[Kind]) -> TypeGuard[list[Kind]]:
    return isinstance(values, list) and all(isinstance(value, kind) and value is not True for value in values)


def _misplaced(text: str, start: int, context: str, row: int) -> RowError:
    """The error for an answer that is not where it should be; names the nearest place where it is."""
    before, after = context.rfind(text, 0, max(start, 0) + len(text)), context.find(text, max(start, 0))
    places = [place for place in (before, after) if place >= 0]
    if not places:
        return RowError(
            f"the answer {text!r:.60} is not in its context", row, ANSWERS, "an answer is not in its context"
        )
    nearest = min(places, key=lambda place: abs(place - start))
    told = f"the answer {text!r:.60} is not at {start} of its context but at {nearest}"
    return RowError(told, row, ANSWERS, "an answer is not at its answer_start")
