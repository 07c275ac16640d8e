"""Text classification: one text or a pair of texts, one class out of several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftkit.contracts import Batch, Row, Task, TaskSettings
from peftkit.errors import UserError, suggest
from peftkit.metrics.classification import per_class

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


LABEL = ("task", "label")


class TextClassificationSettings(TaskSettings):
    """Which columns hold the text, the second text of a pair, and the class."""

    name: Literal["text-classification"] = "text-classification"
    text: str = "text"
    """Column of the text."""
    text_pair: str | None = None
    """Column of the second text, for pairs."""
    label: str = "label"
    """Column of the class."""


class TextClassification(Task):
    """Cross-entropy over the classes found in the training rows; class names are kept in the model's config."""

    settings_class: ClassVar[type[TaskSettings]] = TextClassificationSettings
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_task_type: ClassVar[str] = "SEQ_CLS"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "weighted_f1", "matthews_correlation")
    settings: TextClassificationSettings
    names: tuple[str, ...] = ()
    """Class names, in the order of the model's outputs."""

    def columns(self) -> Mapping[str, str]:
        pair = {"text_pair": self.settings.text_pair} if self.settings.text_pair else {}
        return {"text": self.settings.text, **pair, "label": self.settings.label}

    def learn(self, splits: Mapping[str, Dataset]) -> None:
        self.names = tuple(sorted(set(map(str, splits["train"][self.settings.label])), key=_order))
        self.check_known(splits["train"], "train")
        if len(self.names) < 2:
            raise UserError(f"the training rows hold one class only ({self.names[0]!r}); two are needed", LABEL)
        for split, rows in splits.items():
            self.check_known(rows, split)

    def check_known(self, rows: Dataset, split: str) -> None:
        self._check_cells(rows, split)
        for label in sorted(set(map(str, rows[self.settings.label])) - set(self.names)):
            known = f"{', '.join(self.names[:8])}{', …' if len(self.names) > 8 else ''}"
            near = suggest(label, self.names)
            raise UserError(f"split {split} has the class {label!r}, unknown in train{near} (known: {known})", LABEL)

    def _check_cells(self, rows: Dataset, split: str) -> None:
        """Raises UserError for a text that is not text, or a class that is a list or an object."""
        for setting, column in self.columns().items():
            kind, kinds = ("a class", str | int | float) if setting == "label" else ("text", str)
            for number, cell in enumerate(rows[column], 1):
                if not isinstance(cell, kinds):
                    told = f"split {split}, row {number}: column {column!r} holds {cell!r:.60}, which is not {kind}"
                    raise UserError(told, ("task", setting))

    def restore(self, config: Mapping[str, Any]) -> None:
        self.names = tuple(name for _, name in sorted((int(i), name) for i, name in config["id2label"].items()))

    def config(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": "single_label_classification",
        }

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> dict[str, Any]:
        texts = [rows[column] for column in (self.settings.text, self.settings.text_pair) if column]
        encoded = dict(tokenizer(*texts, truncation=True, max_length=max_length))
        if self.settings.label in rows:
            numbers = {name: index for index, name in enumerate(self.names)}
            encoded["labels"] = [numbers[str(label)] for label in rows[self.settings.label]]
        return encoded

    def stratify_by(self) -> str | None:
        return self.settings.label

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs.logits.float(), batch["labels"], reduction="sum")

    def read(self, outputs: Any, batch: Batch) -> list[dict[str, Any]]:
        best = outputs.logits.float().softmax(-1).max(-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"label": self.names[index], "score": score} for index, score in pairs]

    def reference(self, row: Row) -> str:
        return str(row[self.settings.label])

    def row(self, line: str) -> dict[str, Any]:
        """One text a line; the two texts of a pair are parted by a tab."""
        if not self.settings.text_pair:
            return {self.settings.text: line}
        first, tab, second = line.partition("\t")
        if not tab:
            raise UserError(f"this model reads pairs: write both texts on a line with a tab between, given {line!r}")
        return {self.settings.text: first, self.settings.text_pair: second}

    def detail(self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Any]) -> dict[str, Any]:
        return {"per_class": per_class(predictions, references)}


def _order(name: str) -> tuple[int, float, str]:
    """Numbers in their order, then names in theirs."""
    return (0, float(name), name) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", name) else (1, 0.0, name)
