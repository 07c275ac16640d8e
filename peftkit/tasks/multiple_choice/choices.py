"""Rows of multiple choice as questions: the choices in either of the forms data sets have, and which one is right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peftkit.errors import Key, RowError, suggest

CHOICES: Key = ("task", "choices")
ANSWER: Key = ("task", "answer")
AnswerIs = Literal["index", "text", "label"]


@dataclass(frozen=True)
class Question:
    """A row: what is asked, and what there is to choose from."""

    context: str
    """What the question is about; empty where rows have none."""
    question: str
    choices: tuple[str, ...]
    """Two or more texts, none of them blank."""


@dataclass(frozen=True)
class Choices:
    """A cell of choices: a list of texts, or texts and their labels (``{"text": […], "label": ["A", …]}``)."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] | None

    @classmethod
    def of(cls, cell: Any, row: int, column: str) -> Choices:
        """Reads a cell. Raises RowError where it holds no two texts."""
        told = f"column {column!r}"
        labels = None
        if isinstance(cell, Mapping):
            if not {"text", "label"} <= set(cell) or not (_listed(cell["text"]) and _listed(cell["label"])):
                wanted = "neither a list of texts nor {text: […], label: […]}"
                raise RowError(f"{told} holds {cell!r:.60}, which is {wanted}", row, CHOICES, f"{told} holds {wanted}")
            cell, labels = cell["text"], tuple(map(str, cell["label"]))
        if not _listed(cell):
            kind = f"{told} does not hold a list of choices"
            raise RowError(f"{told} holds {cell!r:.60}, which is not a list of choices", row, CHOICES, kind)
        for number, text in enumerate(cell):
            if not isinstance(text, str) or not text.strip():
                kind = f"{told} holds a choice that is not text"
                raise RowError(f"{told}: choice {number} is {text!r:.60}, which is no text", row, CHOICES, kind)
        if len(cell) < 2:
            raise RowError(
                f"{told} holds {len(cell)} choice{'' if len(cell) == 1 else 's'}; two are needed",
                row,
                CHOICES,
                f"{told} holds fewer than two choices",
            )
        if labels is not None and (len(labels) != len(cell) or len(set(labels)) < len(labels)):
            kind = f"{told}: choices and labels do not fit"
            raise RowError(f"{told}: {len(cell)} choices have the labels {', '.join(labels)}", row, CHOICES, kind)
        return cls(tuple(cell), labels)

    def right(self, answer: Any, row: int, answer_is: AnswerIs | None) -> int:
        """Which choice, from 0, the cell of an answer means. Raises RowError where it means none, or may mean two.

        Unless `answer_is` says which, an integer is an index from 0. Text is a label where choices have labels; else it
        is the choice that reads so, or the index that its digits write.
        """
        if isinstance(answer, bool) or not isinstance(answer, int | str):
            raise RowError(f"answer {answer!r:.60} is neither an index nor text", row, ANSWER, "no index and no text")
        match answer_is:
            case "index":
                return self._by_index(answer, row)
            case "label":
                return self._by_label(answer, row)
            case "text":
                return self._by_text(answer, row)
        if isinstance(answer, int):
            return self._by_index(answer, row)
        if self.labels is not None:
            return self._by_label(answer, row)
        if answer not in self.texts and _digits(answer):
            return self._by_index(answer, row)
        found = self._by_text(answer, row)
        if _digits(answer) and found != int(answer) < len(self.texts):
            told = f"answer {answer!r} is the text of choice {found} and another's index; say answer_is: text or index"
            raise RowError(told, row, ANSWER, "the answer may be a choice's text or an index")
        return found

    def _by_index(self, answer: int | str, row: int) -> int:
        count = len(self.texts)
        if isinstance(answer, str) and not _digits(answer):
            raise RowError(f"answer {answer!r:.60} is no index", row, ANSWER, "the answer is no index")
        if not 0 <= int(answer) < count:
            told = f"answer {answer} is out of range: there are {count} choices (0 to {count - 1})"
            raise RowError(told, row, ANSWER, "the answer's index is out of range")
        return int(answer)

    def _by_label(self, answer: int | str, row: int) -> int:
        if self.labels is None:
            told = "choices have no labels to find the answer by: they must be {text: […], label: […]}"
            raise RowError(told, row, ANSWER)
        if str(answer) not in self.labels:
            told = f"answer {answer!r:.60} is none of the labels{suggest(str(answer), self.labels)}"
            raise RowError(f"{told} ({', '.join(self.labels)})", row, ANSWER, "the answer is no choice's label")
        return self.labels.index(str(answer))

    def _by_text(self, answer: int | str, row: int) -> int:
        found = [number for number, text in enumerate(self.texts) if text == str(answer)]
        if not found:
            known = ", ".join(f"{text!r:.40}" for text in self.texts[:8])
            told = f"answer {answer!r:.60} is none of the {len(self.texts)} choices{suggest(str(answer), self.texts)}"
            raise RowError(f"{' '.join(told.split())} ({known})", row, ANSWER, "the answer is no choice's text")
        if len(found) > 1:
            told = f"answer {answer!r:.60} is the text of choices {', '.join(map(str, found))}; give an index"
            raise RowError(told, row, ANSWER, "the answer is the text of several choices")
        return found[0]


def _listed(cell: Any) -> bool:
    return isinstance(cell, Sequence) and not isinstance(cell, str | bytes)


def _digits(text: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None
