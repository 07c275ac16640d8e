"""What every classification of whole rows shares, whatever the rows are: text, pairs, images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from peftkit.contracts import Batch, Example, Prediction, Reading, Row, Task, TaskSettings
from peftkit.examples.problems import MultiLabel, Problem, Regression, SingleLabel

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor


class ClassificationSettings(TaskSettings):
    """Which column holds the label, and what kind it is."""

    label: str = "label"
    """Column of the class, of the list of labels, or of the number."""
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] = (
        "single_label_classification"
    )
    """One class a row, a list of labels a row, or a number a row; the words are transformers'."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probability from which a label is given, with several labels a row; by default chosen for each label on the
    validation rows, by its F1."""

    @model_validator(mode="after")
    def _threshold_of_labels(self) -> Self:
        if self.threshold is not None and self.problem_type != "multi_label_classification":
            raise ValueError("threshold goes with problem_type: multi_label_classification")
        return self


class Classification(Task):
    """Classifies whole rows; how labels are learnt and read is the problem's, how rows are encoded the task's."""

    settings: ClassificationSettings

    def __init__(self, settings: ClassificationSettings) -> None:
        super().__init__(settings)
        self.problem = _problem(settings)
        self.default_metrics, self.gives = self.problem.metrics, self.problem.gives
        self.calibrated = self.problem.calibrated

    @abstractmethod
    def examples(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[Example]:
        """The inputs of each row, without its label. Raises RowError."""

    def learn(self, rows: Dataset) -> None:
        self.problem.learn(rows[self.settings.label])

    def restore(self, config: Mapping[str, Any]) -> None:
        self.problem.restore(config)

    def config(self) -> dict[str, Any]:
        return self.problem.config()

    def stratify_by(self) -> str | None:
        return None if isinstance(self.problem, Regression) else self.settings.label

    def encode(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[list[Example]]:
        found = self.examples(rows, max_length)
        for number, (example, label) in enumerate(zip(found, rows.get(self.settings.label, ()), strict=False)):
            example["labels"] = self.problem.target(label, number)
        return [[example] for example in found]

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        assert batch.labels is not None
        return self.problem.loss(outputs.logits.float(), batch.labels)

    def supervised(self, batch: Batch) -> int:
        return 0 if batch.labels is None else len(batch.examples)

    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        return self.problem.read(outputs.logits.float())

    def calibrate(self, rows: Iterable[Row], readings: Sequence[Sequence[Reading]], references: Sequence[Any]) -> None:
        self.problem.calibrate([reading for (reading,) in readings], references)

    def join(self, row: Row, readings: Sequence[Reading]) -> Prediction:
        return self.problem.join(readings[0])

    def reference(self, row: Row) -> Any:
        return self.problem.reference(row[self.settings.label])

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        return self.problem.detail(predictions, references)


def _problem(settings: ClassificationSettings) -> Problem:
    match settings.problem_type:
        case "single_label_classification":
            return SingleLabel(settings.label)
        case "multi_label_classification":
            return MultiLabel(settings.label, settings.threshold)
        case "regression":
            return Regression(settings.label)
