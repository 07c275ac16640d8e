"""How rows say what a language model learns: the contract that every such shape of rows keeps, and plain text."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.contracts import IGNORED, Example, Row
from peftkit.errors import Key, RowError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Rows = Mapping[str, list[Any]]


class Shape(ABC):
    """A shape of rows, read with a tokenizer once it is equipped.

    Its examples hold ``input_ids``; ``labels`` of the same length, -100 where nothing is learnt, or none where the row
    has nothing to learn; ``bytes``, UTF-8 bytes of the text with labels (of all the text without); and, where a text
    can be continued, ``prompt``: how many leading tokens are given.
    """

    setting: ClassVar[str]
    """The setting that chooses this shape: where an error about a row points to."""
    can_continue: ClassVar[bool] = True
    """Whether rows have a prompt, and texts that may follow it."""
    tokenizer: PreTrainedTokenizerBase
    start: list[int]
    """What the tokenizer puts before every text (bos), nothing for many."""
    end: list[int]
    """What closes every text (eos), nothing where it is not wanted."""
    stop: Sequence[int] = ()
    """Tokens that end a generated text, besides those that the model names."""

    def __init__(self, eos: bool) -> None:
        self.eos = eos

    @property
    def key(self) -> Key:
        """The setting that an error about a row points to."""
        return ("task", self.setting)

    def equip(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Takes the tokenizer. Raises UserError where it lacks what this shape needs."""
        self.tokenizer = tokenizer
        self.start = leading_tokens(tokenizer)
        if self.eos and tokenizer.eos_token_id is None:
            raise UserError("the tokenizer has no end-of-text token to close a text with; give eos: false", self.key)
        self.end = [int(tokenizer.eos_token_id)] if self.eos else []
        self.stop = self.end

    @abstractmethod
    def columns(self) -> Mapping[str, str]:
        """Columns that training needs: setting → column name."""

    @abstractmethod
    def encode(self, rows: Rows, max_length: int) -> list[list[Example]]:
        """The examples of each of `rows`. Raises RowError."""

    @abstractmethod
    def row(self, line: str) -> dict[str, Any]:
        """A line typed by a user as a row. Raises UserError."""

    def texts(self, row: Row) -> list[str]:
        """The texts that may follow a row's prompt, the first is the one to learn."""
        raise NotImplementedError  # asked only where a text can be continued

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text as token ids, nothing added."""
        if not texts:
            return []
        found = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return [list(ids) for ids in found["input_ids"]]

    def text_of(self, cell: Any, row: int, setting: str, column: str) -> str:
        """The cell. Raises RowError where it is no text, or nothing but space."""
        if not isinstance(cell, str):
            told = f"column {column!r} holds {cell!r:.60}, which is not text"
            raise RowError(told, row, ("task", setting), f"column {column!r} does not hold text")
        if not cell.strip():
            told = f"column {column!r} holds an empty text"
            raise RowError(told, row, ("task", setting))
        return cell


class PlainText(Shape):
    """A column of text, all of it learnt: continued pretraining.

    A text longer than the limit becomes several blocks. Each begins with the last token of the one before, without a
    label: so every token but the text's first is learnt once, and none is lost.
    """

    setting = "text"
    can_continue = False

    def __init__(self, text: str, eos: bool) -> None:
        super().__init__(eos)
        self.text = text

    def columns(self) -> Mapping[str, str]:
        return {"text": self.text}

    def encode(self, rows: Rows, max_length: int) -> list[list[Example]]:
        if max_length < 2:
            raise UserError("plain text needs blocks of at least 2 tokens", ("training", "max_length"))
        texts = [self.text_of(cell, number, "text", self.text) for number, cell in enumerate(rows[self.text])]
        found = []
        for number, (text, ids) in enumerate(zip(texts, self.ids(texts), strict=True)):
            whole = [*self.start, *ids, *self.end]
            if len(whole) < 2:
                told = f"column {self.text!r} holds {text!r:.60}: one token, and none before it to predict it from"
                raise RowError(told, number, self.key, f"column {self.text!r} holds a single token")
            unseen = "" if self.start else self.tokenizer.decode(ids[:1])
            examples = [
                {"input_ids": block, "labels": [IGNORED, *block[1:]], "bytes": 0} for block in blocks(whole, max_length)
            ]
            examples[0]["bytes"] = max(utf8_bytes(text) - utf8_bytes(unseen), 0)  # told once, for the whole row
            found.append(examples)
        return found

    def row(self, line: str) -> dict[str, Any]:
        given = json_of(line)
        return given if isinstance(given, dict) and self.text in given else {self.text: line}


def leading_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that `tokenizer` puts before a text by itself: bos for most decoders that have one."""
    found = tokenizer("a", return_special_tokens_mask=True)
    leading: list[int] = []
    for token, special in zip(found["input_ids"], found["special_tokens_mask"], strict=True):
        if not special:
            break
        leading.append(int(token))
    return leading


def blocks(tokens: Sequence[int], size: int) -> Iterator[list[int]]:
    """`tokens` in runs of at most `size`, each beginning with the last token of the one before."""
    for first in range(0, max(len(tokens) - 1, 1), size - 1):
        yield list(tokens[first : first + size])


def utf8_bytes(text: str) -> int:
    """Length of `text` in UTF-8; what cannot be written in it counts as its replacement."""
    return len(text.encode(errors="replace"))


def json_of(line: str) -> Any:
    """What a line of JSON holds, an object or a list; None for any other line."""
    if not line.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
