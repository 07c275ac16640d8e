"""Token classification: a tag for every word, scored as whole entities where the tags follow a scheme."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import NonNegativeInt

from peftkit.contracts import IGNORED, Batch, Example, Prediction, Reading, Row, Task, TaskSettings
from peftkit.errors import Key, RowError, UserError, suggest
from peftkit.examples import Classes, collate_tokens
from peftkit.metrics.classification import per_class
from peftkit.metrics.token_classification import per_type
from peftkit.tasks.token_classification.tags import OUTSIDE, Scheme, scheme_of, type_of
from peftkit.tasks.token_classification.words import in_windows, takes_space, text_of, tokenize_words, words_of

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedConfig

TAGS: Key = ("task", "tags")
ENTITY_METRICS = ("entity_f1", "entity_precision", "entity_recall")
SHOWN = 8
"""Tags that an error lists."""


class TokenClassificationSettings(TaskSettings):
    """Which columns hold the words and their tags, and how long sentences and broken tags are dealt with."""

    name: Literal["token-classification"] = "token-classification"
    tokens: str = "tokens"
    """Column of the words, a list; characters for Chinese."""
    tags: str = "tags"
    """Column of the tags, a list as long as the words."""
    types: list[str] = []
    """Entity types beside those in the training rows, for rows that are scored (tags where they follow no scheme)."""
    stride: NonNegativeInt = 16
    """Words that neighbouring windows of a long sentence share, at most half of a window."""
    repair: Literal["none", "begin"] = "none"
    """``none`` scores tags as they are: an I- that continues nothing makes no entity (seqeval, strict); ``begin`` first
    turns it into B-, in predictions and references alike (conlleval's rule)."""


class TokenClassification(Task):
    """A head on every token; a word is taught and read on its first token, a long sentence in windows that overlap.

    Words of which the tokenizer makes nothing (empty, control characters) are predicted as O.
    """

    settings_class: ClassVar[type[TaskSettings]] = TokenClassificationSettings
    auto_class = "AutoModelForTokenClassification"
    peft_task_type = "TOKEN_CLS"
    default_metrics: tuple[str, ...] = ENTITY_METRICS
    gives = ("tags",)
    settings: TokenClassificationSettings
    classes: Classes
    scheme: Scheme | None
    """None where tags mark no entities."""

    # --- What the rows say of the task

    def columns(self) -> Mapping[str, str]:
        return {"tokens": self.settings.tokens, "tags": self.settings.tags}

    def learn(self, rows: Dataset) -> None:
        cells = [cell for cell in rows[self.settings.tags] if isinstance(cell, list)]
        given = [str(tag) for cell in cells for tag in cell if _is_tag(tag)]
        found = set(given)
        self._take_scheme(scheme_of(given))
        if self.scheme is None:
            self._check_without_scheme()
            self.classes = Classes.learnt(found | set(self.settings.types), TAGS)
            return
        legal = {tag for tag in found if self.scheme.legal(tag)} - {OUTSIDE}
        if self.settings.repair == "none" and not {tag[0] for tag in legal} & {"B", self.scheme.single}:
            told = f"the training rows begin no entity: {min(legal)!r} is there, no tag with B; give repair: begin"
            raise UserError(told, ("task", "repair"))
        self.classes = Classes(self.scheme.tags({*map(type_of, legal), *self.settings.types}))

    def restore(self, config: Mapping[str, Any]) -> None:
        self.classes = Classes.restored(config)
        self._take_scheme(scheme_of(self.classes.names))

    def config(self) -> dict[str, Any]:
        return self.classes.config()

    def equip(self, processor: Any, config: PreTrainedConfig) -> None:
        if not processor.is_fast:
            told = (
                f"{type(processor).__name__} does not tell the word of a token; a base with a fast tokenizer is needed"
            )
            raise UserError(told, ("model", "name"))
        super().equip(processor, config)
        self.spaced = takes_space(processor)

    def _take_scheme(self, scheme: Scheme | None) -> None:
        self.scheme = scheme
        self.default_metrics = ENTITY_METRICS if scheme else ("token_accuracy",)

    def _check_without_scheme(self) -> None:
        told = f"needs tags like B-PER, I-PER and O, which column {self.settings.tags!r} does not hold"
        for metric in self.settings.metrics:
            if metric in ENTITY_METRICS:
                raise UserError(f"{metric} {told}; token_accuracy takes any", ("task", "metrics"))
        if self.settings.repair != "none":
            raise UserError(f"{self.settings.repair} {told}", ("task", "repair"))

    # --- Rows to examples to batches

    def encode(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[list[Example]]:
        assert max_length is not None
        cells = rows[self.settings.tokens]
        for number, cell in enumerate(cells):
            _check_words(cell, self.settings.tokens, number)
        targets = [
            self._numbers(words, tags, number)
            for number, (words, tags) in enumerate(zip(cells, rows.get(self.settings.tags, ()), strict=False))
        ]
        found = []
        for number, (inputs, owners) in enumerate(tokenize_words(self.processor, cells, self.spaced)):
            examples = in_windows(inputs, owners, max_length, self.settings.stride)
            for example in examples if targets else ():
                example["labels"] = [IGNORED] * len(example["input_ids"])
                for word, place in zip(example["words"], example["places"], strict=True):
                    example["labels"][place] = targets[number][word]
            found.append(examples)
        return found

    def _numbers(self, words: Sequence[str], tags: Any, row: int) -> list[int]:
        """The number of each word's tag. Raises RowError."""
        column = self.settings.tags
        if not isinstance(tags, list):
            told = f"column {column!r} holds {tags!r:.60}, which is not a list of tags"
            raise RowError(told, row, TAGS, f"column {column!r} does not hold a list of tags")
        if len(tags) != len(words):
            told = f"{len(tags)} tags for {len(words)} words"
            raise RowError(told, row, TAGS, "as many tags as words are needed")
        for word, tag in enumerate(tags):
            if not _is_tag(tag) or str(tag) not in self.classes.numbers:
                raise self._refused(tag, f"tag {word + 1} (of {words[word]!r:.40})", row)
        return [self.classes.numbers[str(tag)] for tag in tags]

    def _refused(self, tag: Any, place: str, row: int) -> RowError:
        """The error for a tag that is missing, of no type seen in training, or not of the scheme."""
        if not _is_tag(tag):
            return RowError(f"{place} is {tag!r:.40}, not a tag", row, TAGS, "a tag is missing or no text")
        names = self.classes.names
        why = f"tag {str(tag)!r} is unknown in train"
        if self.scheme and not self.scheme.legal(str(tag)):
            why = f"tag {str(tag)!r} is not of the scheme {self.scheme.name}"
        known = f"{', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
        return RowError(f"{place}: {why}{suggest(str(tag), names)} (known: {known})", row, TAGS, why)

    def collate(self, examples: Sequence[Example], augment: Random | None = None) -> Batch:
        return collate_tokens(examples, self.processor)

    # --- The loss and the predictions

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import cross_entropy

        assert batch.labels is not None
        logits = _of_tokens(outputs, batch).flatten(0, 1)
        return cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        best = _of_tokens(outputs, batch).argmax(-1).tolist()
        return [
            {"words": example["words"], "tags": [self.classes.names[row[place]] for place in example["places"]]}
            for example, row in zip(batch.examples, best, strict=True)
        ]

    def join(self, row: Row, readings: Sequence[Reading]) -> Prediction:
        words = row[self.settings.tokens]
        tags = [OUTSIDE] * len(words)
        for reading in readings:
            for word, tag in zip(reading["words"], reading["tags"], strict=True):
                tags[word] = tag
        if self.scheme is None:
            return {"tags": tags}
        illegal = {"illegal_tags": self.scheme.illegal(tags)}
        if row.get(self.settings.tags) is not None:
            illegal["illegal_reference_tags"] = self.scheme.illegal(row[self.settings.tags])
        tags = self._repaired(tags)
        entities = [
            {"type": one.type, "text": text_of(words[one.start : one.end]), "start": one.start, "end": one.end}
            for one in self.scheme.entities(tags)
        ]
        return {"tags": tags, "entities": entities, **illegal}

    def reference(self, row: Row) -> list[str]:
        return self._repaired([str(tag) for tag in row[self.settings.tags]])

    def _repaired(self, tags: list[str]) -> list[str]:
        return self.scheme.repaired(tags) if self.scheme and self.settings.repair == "begin" else tags

    def row(self, line: str) -> dict[str, Any]:
        """A text, split at its spaces, or into characters where any is Chinese or Japanese; or JSON with the words."""
        if not line.lstrip().startswith("{"):
            return {self.settings.tokens: words_of(line)}
        try:
            row: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"no JSON ({error}): {line!r:.60}") from None
        if self.settings.tokens not in row:
            raise UserError(f"no {self.settings.tokens!r} in {line!r:.60}")
        return row

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        """What the scores rest on, and a table: by entity type, or by tag where tags follow no scheme."""
        if self.scheme is None:
            found = [{"label": tag} for prediction in predictions for tag in prediction["tags"]]
            return {"scheme": "none", "per_tag": per_class(found, [tag for tags in references for tag in tags])}
        counts = {
            f"illegal_{side}tags": sum(prediction[f"illegal_{side}tags"] for prediction in predictions)
            for side in ("", "reference_")
        }
        table = per_type(predictions, references)
        return {"scheme": self.scheme.name, "repair": self.settings.repair, **counts, "per_type": table}


def _is_tag(tag: Any) -> bool:
    return isinstance(tag, str | int) and tag != ""


def _check_words(cell: Any, column: str, row: int) -> None:
    """Raises RowError where a row's words are not a list of text."""
    wrong = cell if not isinstance(cell, list) else next((word for word in cell if not isinstance(word, str)), None)
    if not isinstance(cell, list) or not all(isinstance(word, str) for word in cell):
        told = f"column {column!r} holds {wrong!r:.60}, which is not {'a word' if isinstance(cell, list) else 'a list'}"
        raise RowError(told, row, ("task", "tokens"), f"column {column!r} does not hold lists of words")


def _of_tokens(outputs: Any, batch: Batch) -> Tensor:
    """Logits of the batch's own tokens in float32, ``(examples, tokens, tags)``; prompts stand before them."""
    logits: Tensor = outputs.logits[:, -batch.inputs["input_ids"].shape[1] :].float()
    return logits
