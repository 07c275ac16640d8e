"""The error tree: what a user did wrong is told in one line and ends with exit code 2; everything else is a defect."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

Key = tuple[str | int, ...]
"""The path of a setting in a recipe, e.g. ``("training", "learning_rate")``."""


class PeftkitError(Exception):
    """Every error that peftkit raises on purpose."""


class UserError(PeftkitError):
    """A mistake the user can mend: says what was given, where, what is allowed and the nearest match.

    `key` names the setting that led here; whoever knows the recipe's file turns it into ``file:line``.
    """

    def __init__(self, message: str, key: Key = ()) -> None:
        super().__init__(message)
        self.key = key


class RecipeErrors(UserError):
    """Everything wrong with one recipe at once, a line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__("\n".join(self.lines))


class RowError(PeftkitError):
    """A row of the data that cannot be read. `row` counts from 0 in what was being read; who knows the whole data turns
    it into the row's number there, or drops the row and counts it where the recipe allows that."""

    def __init__(self, message: str, row: int = 0, key: Key = (), kind: str | None = None) -> None:
        super().__init__(message)
        self.row, self.key = row, key
        self.kind = kind or message
        """The reason without what is this row's own, for counting."""


class OutOfMemory(PeftkitError):
    """The device had no memory left; the record keeps the row as ``out-of-memory``."""


@contextmanager
def located(place_of: Callable[[Key], str]) -> Iterator[None]:
    """Puts ``recipe.yaml:12: training.max_length:`` before the message of a user's mistake that knows its setting."""
    try:
        yield
    except UserError as error:
        if not error.key:
            raise
        parts = (place_of(error.key), ".".join(map(str, error.key)), str(error))
        raise UserError(": ".join(part for part in parts if part)) from error


def suggest(given: str, allowed: Iterable[str]) -> str:
    """``, did you mean lora?`` for a near miss of one of `allowed`, else the empty string."""
    near = difflib.get_close_matches(str(given), [str(name) for name in allowed], n=5, cutoff=0.6)
    swapped = [name for name in near if sorted(name) == sorted(str(given))]  # two letters in the wrong order
    return f", did you mean {(swapped or near)[0]}?" if near else ""


def unknown(kind: str, given: str, allowed: Iterable[str]) -> str:
    """``unknown method 'lroa', did you mean lora? (allowed: adalora, …)``."""
    names = sorted(str(name) for name in allowed)
    return f"unknown {kind} {given!r}{suggest(given, names)} (allowed: {', '.join(names)})"
