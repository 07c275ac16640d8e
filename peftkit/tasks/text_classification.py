"""Text classification: one text or a pair of texts, one class out of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftkit.contracts import Batch, Row, Task, TaskSettings
from peftkit.errors import UserError, suggest
from peftkit.metrics.classification import per_class

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class TextClassificationSettings(TaskSettings):
    """Which columns hold the text, the second text of a pair, and the class."""

    name: Literal["text-classification"] = "text-classification"
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"


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
        seen = {split: set(map(str, rows[self.settings.label])) for split, rows in splits.items()}
        self.names = tuple(sorted(seen["train"], key=_order))
        if len(seen["train"]) < 2:
            only = next(iter(seen["train"]), "none")
            raise UserError(f"the training rows hold one class only ({only!r}); two are needed", ("task", "label"))
        for split, labels in seen.items():
            for label in sorted(labels - set(self.names)):
                known = f"{', '.join(self.names[:8])}{', …' if len(self.names) > 8 else ''}"
                raise UserError(
                    f"split {split} has the class {label!r}, unknown in train{suggest(label, self.names)} (known: {known})",
                    ("task", "label"),
                )

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
    return (0, float(name), name) if name.lstrip("-").isdigit() else (1, 0.0, name)
