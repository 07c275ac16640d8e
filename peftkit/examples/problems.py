"""The three kinds of classification: one class a row, several labels a row, a number a row."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.contracts import Prediction, Reading
from peftkit.errors import Key, RowError, UserError
from peftkit.examples.classes import Classes
from peftkit.metrics.classification import per_class

if TYPE_CHECKING:
    from torch import Tensor

LABEL: Key = ("task", "label")
"""The setting that names the column of the labels."""
UNSURE = 0.5
"""The threshold of a label that nothing was chosen for."""


class Problem(ABC):
    """How labels are learnt, trained on and read back; the names are those of transformers' ``problem_type``."""

    metrics: ClassVar[tuple[str, ...]]
    gives: ClassVar[tuple[str, ...]]
    calibrated: bool = False

    def __init__(self, column: str) -> None:
        self.column = column

    @abstractmethod
    def learn(self, labels: Iterable[Any]) -> None:
        """Takes the classes from the training rows' labels. Raises UserError."""

    @abstractmethod
    def restore(self, config: Mapping[str, Any]) -> None:
        """Takes them from a trained model's config."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Fields of the model's config."""

    @abstractmethod
    def target(self, label: Any, row: int) -> Any:
        """A row's label as the loss wants it. Raises RowError."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over the rows; `logits` are ``(rows, outputs)`` in float32."""

    @abstractmethod
    def read(self, logits: Tensor) -> list[Reading]:
        """What the logits say of each row."""

    @abstractmethod
    def reference(self, label: Any) -> Any:
        """A row's label as plain data to compare with."""

    def calibrate(self, readings: Sequence[Reading], references: Sequence[Any]) -> None:
        """Chooses thresholds on validation rows."""

    def join(self, reading: Reading) -> Prediction:
        """The prediction that a reading makes."""
        return reading

    def refused(self, label: Any, wanted: str, row: int) -> RowError:
        """The error for a label of another kind than wanted."""
        kind = f"column {self.column!r} does not hold {wanted}"
        return RowError(f"column {self.column!r} holds {label!r:.60}, which is not {wanted}", row, LABEL, kind)

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        """Precision, recall and F1 of every class."""
        return {"per_class": per_class(predictions, references)}


class SingleLabel(Problem):
    """Softmax and cross-entropy over the classes found in the training rows."""

    metrics = ("accuracy", "macro_f1", "weighted_f1", "matthews_correlation")
    gives = ("label",)
    classes: Classes

    def learn(self, labels: Iterable[Any]) -> None:
        found = list(labels)
        if found and all(isinstance(label, list) for label in found):
            several = "lists; for several labels a row give problem_type: multi_label_classification"
            raise UserError(f"column {self.column!r} holds {several}", LABEL)
        self.classes = Classes.learnt(filter(_is_class, found), LABEL)

    def restore(self, config: Mapping[str, Any]) -> None:
        self.classes = Classes.restored(config)

    def config(self) -> dict[str, Any]:
        return {**self.classes.config(), "problem_type": "single_label_classification"}

    def target(self, label: Any, row: int) -> int:
        if not _is_class(label):
            raise self.refused(label, "a class", row)
        return self.classes.number(label, row, LABEL)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, labels, reduction="sum")

    def read(self, logits: Tensor) -> list[Reading]:
        best = logits.softmax(-1).max(-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"label": self.classes.names[index], "score": score} for index, score in pairs]

    def reference(self, label: Any) -> str:
        return str(label)


class MultiLabel(Problem):
    """A sigmoid and binary cross-entropy for each label; a row may have none, one or several.

    The loss of a row is the mean over the labels, as torch's ``BCEWithLogitsLoss`` has it. A label is given from its
    threshold on; each label's own is the one with the best F1 on the validation rows (Fan and Lin 2007, *A study on
    threshold selection for multi-label classification*), unless the recipe fixes one for all.
    """

    metrics = ("micro_f1", "macro_f1", "weighted_f1", "accuracy")
    gives = ("labels", "scores")
    classes: Classes

    def __init__(self, column: str, threshold: float | None) -> None:
        super().__init__(column)
        self.fixed = threshold
        self.calibrated = threshold is None
        self.thresholds: dict[str, float] = {}

    def learn(self, labels: Iterable[Any]) -> None:
        found = (label for row in labels if isinstance(row, list) for label in row)
        self.classes = Classes.learnt(filter(_is_class, found), LABEL)

    def restore(self, config: Mapping[str, Any]) -> None:
        self.classes = Classes.restored(config)
        self.thresholds = dict(config.get("thresholds") or {})

    def config(self) -> dict[str, Any]:
        chosen = {"thresholds": self.thresholds} if self.thresholds else {}
        return {**self.classes.config(), "problem_type": "multi_label_classification", **chosen}

    def target(self, label: Any, row: int) -> list[float]:
        if not isinstance(label, list) or not all(map(_is_class, label)):
            raise self.refused(label, "a list of labels", row)
        given = {self.classes.number(name, row, LABEL) for name in label}
        return [float(number in given) for number in range(len(self.classes.names))]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(-1).sum()

    def read(self, logits: Tensor) -> list[Reading]:
        return [{"scores": dict(zip(self.classes.names, row, strict=True))} for row in logits.sigmoid().tolist()]

    def reference(self, label: Any) -> list[str]:
        return sorted(map(str, label))

    def calibrate(self, readings: Sequence[Reading], references: Sequence[Any]) -> None:
        for name in self.classes.names:
            scores = [reading["scores"][name] for reading in readings]
            self.thresholds[name] = best_threshold(scores, [name in reference for reference in references])

    def join(self, reading: Reading) -> Prediction:
        scores = reading["scores"]
        given = [name for name, score in scores.items() if score >= self._threshold(name)]
        return {"labels": sorted(given), "scores": scores}

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        thresholds = {name: self._threshold(name) for name in self.classes.names}
        return {**super().detail(predictions, references), "thresholds": thresholds}

    def _threshold(self, name: str) -> float:
        return self.fixed if self.fixed is not None else self.thresholds.get(name, UNSURE)


class Regression(Problem):
    """One output, trained by squared error."""

    metrics = ("pearson", "spearman", "mean_squared_error")
    gives = ("value",)

    def learn(self, labels: Iterable[Any]) -> None:
        pass

    def restore(self, config: Mapping[str, Any]) -> None:
        pass

    def config(self) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def target(self, label: Any, row: int) -> float:
        try:
            number = float(label)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self.refused(label, "a number", row)
        return number

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        from torch.nn.functional import mse_loss

        return mse_loss(logits[:, 0], labels, reduction="sum")

    def read(self, logits: Tensor) -> list[Reading]:
        return [{"value": value} for value in logits[:, 0].tolist()]

    def reference(self, label: Any) -> float:
        return float(label)

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        return {}


def best_threshold(scores: Sequence[float], hits: Sequence[bool]) -> float:
    """The score from which on a row counts as a hit for the best F1, halfway to the one below; 0.5 without a hit."""
    from sklearn.metrics import precision_recall_curve

    if not any(hits):
        return UNSURE
    precision, recall, thresholds = precision_recall_curve(hits, scores)
    f1 = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision[:-1], recall[:-1], strict=True)]
    best = max(range(len(f1)), key=f1.__getitem__)
    below = thresholds[best - 1] if best else 0.0
    return float((thresholds[best] + below) / 2)


def _is_class(label: Any) -> bool:
    return isinstance(label, str | int | float)
