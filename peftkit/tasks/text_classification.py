"""Text classification: a text or a pair of texts; one class, several labels, or a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, ClassVar, Literal

from peftkit.contracts import Batch, Example, TaskSettings
from peftkit.errors import RowError, UserError
from peftkit.examples import collate_tokens, tokenize
from peftkit.examples.classification import Classification, ClassificationSettings
from peftkit.examples.typed import json_row


class TextClassificationSettings(ClassificationSettings):
    """Which columns hold the text, the second text of a pair, and the label."""

    name: Literal["text-classification"] = "text-classification"
    text: str = "text"
    """Column of the text."""
    text_pair: str | None = None
    """Column of the second text, for pairs."""


class TextClassification(Classification):
    """A head on the base's pooled output (encoders), or on the last token that is not padding (decoders)."""

    settings_class: ClassVar[type[TaskSettings]] = TextClassificationSettings
    auto_class = "AutoModelForSequenceClassification"
    peft_task_type = "SEQ_CLS"
    settings: TextClassificationSettings

    def columns(self) -> Mapping[str, str]:
        pair = {"text_pair": self.settings.text_pair} if self.settings.text_pair else {}
        return {"text": self.settings.text, **pair, "label": self.settings.label}

    def examples(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[Example]:
        assert max_length is not None
        for setting, column in self.columns().items():
            for number, cell in enumerate(rows.get(column, ()) if setting != "label" else ()):
                if not isinstance(cell, str):
                    told = f"column {column!r} holds {cell!r:.60}, which is not text"
                    raise RowError(told, number, ("task", setting), f"column {column!r} does not hold text")
        pairs = rows[self.settings.text_pair] if self.settings.text_pair else None
        return tokenize(self.processor, rows[self.settings.text], pairs, max_length)

    def collate(self, examples: Sequence[Example], augment: Random | None = None) -> Batch:
        return collate_tokens(examples, self.processor)

    def row(self, line: str) -> dict[str, Any]:
        """One text a line; the two texts of a pair are parted by a tab; or JSON."""
        columns = [column for column in (self.settings.text, self.settings.text_pair) if column]
        if given := json_row(line, columns):
            return given
        if not self.settings.text_pair:
            return {self.settings.text: line}
        first, tab, second = line.partition("\t")
        if not tab:
            raise UserError(f"this model reads pairs: write both texts with a tab between, or JSON, given {line!r:.60}")
        return {self.settings.text: first, self.settings.text_pair: second}
