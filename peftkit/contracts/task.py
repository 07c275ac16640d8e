"""Task: what is learnt and scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.contracts.rows import IGNORED, Batch, Example, Prediction, Reading, Row
from peftkit.contracts.settings import Settings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedConfig


class TaskSettings(Settings):
    """What every task's settings share: the hub's task tag, and what it is scored by."""

    name: str
    metrics: list[str] = []
    """What to score by, the first to choose the best by: names of METRICS, or ``evaluate:NAME``,
    ``evaluate:path/to/module`` for the evaluate library; the task's own by default."""


class Task(ABC):
    """What is learnt and scored. Bound to its settings; then `learn` or `restore`, then `equip`, then the rest.

    A row of the data becomes one or more examples (`encode`), examples become a batch (`collate`), the model's outputs
    are read example by example (`read`), and a row's readings become its prediction (`join`).
    """

    settings_class: ClassVar[type[TaskSettings]]
    processor_class: ClassVar[str] = "AutoTokenizer"
    """Name of the transformers Auto class of what turns a row's text or image into model inputs."""
    processor_arguments: ClassVar[Mapping[str, Any]] = {}
    """What it is loaded with, beside the model's own settings."""
    auto_class: str
    """Name of the transformers Auto class of the model."""
    adds_head: bool = True
    """Whether what stands beside the base is the task's own head, trained and saved; language models bring theirs."""
    peft_task_type: str | None
    """peft's word for the task, None where it has none."""
    default_metrics: tuple[str, ...]
    """Names in the METRICS table, the first is the one to choose by."""
    gives: tuple[str, ...]
    """Fields of a prediction that a metric may read."""
    calibrated: bool = False
    """Whether `calibrate` chooses something on the validation rows."""
    processor: Any
    """The tokenizer or image processor, once equipped."""
    beyond: Mapping[int, str] = {}
    """Tokens by number that the tokenizer makes and the model has no embedding for; no row may hold one."""

    def __init__(self, settings: TaskSettings) -> None:
        self.settings = settings

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is scored, the first is the one to choose by."""
        return tuple(self.settings.metrics) or self.default_metrics

    # --- What the rows say of the task

    @abstractmethod
    def columns(self) -> Mapping[str, str]:
        """Columns that the data must have, none of their cells empty: setting → column name."""

    def files(self) -> Sequence[str]:
        """Columns whose cells are files, such as images: the task finds a `File` in each of their cells."""
        return ()

    def learn(self, rows: Dataset) -> None:
        """Takes from the training rows what defines the task (class names). Raises UserError."""

    def restore(self, config: Mapping[str, Any]) -> None:
        """Takes from a trained model's config what `learn` and `calibrate` took from the rows."""

    def config(self) -> dict[str, Any]:
        """Fields of the model's config: number of labels, their names, the problem type, thresholds."""
        return {}

    def equip(self, processor: Any, config: PreTrainedConfig) -> None:
        """Takes the processor, and what it needs to know of the base. Raises UserError where they do not fit."""
        self.processor = processor

    def encoded_by(self) -> Sequence[Any]:
        """What, besides settings, `config` and the limit, decides how rows are encoded: processors, and JSON data."""
        return (self.processor,)

    def stratify_by(self) -> str | None:
        """The column whose values every cut of the data keeps in proportion, if any."""
        return None

    # --- Rows to examples to batches

    @abstractmethod
    def encode(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[list[Example]]:
        """The examples of each of `rows`, with ``labels`` where the rows have them; ``cut`` where a part did not fit.

        `max_length` is None where the processor is no tokenizer.

        Raises:
            RowError: a row cannot be read; says which of `rows`, and why.
        """

    def length(self, example: Example) -> int:
        """Tokens that go through the model for this example."""
        return len(example["input_ids"])

    @abstractmethod
    def collate(self, examples: Sequence[Example], augment: Random | None = None) -> Batch:
        """Examples as tensors. `augment` is given in training: what a task changes of its inputs is drawn from it."""

    # --- The loss

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The *sum* of the losses over the supervised items of the batch, a scalar in float32."""

    def supervised(self, batch: Batch) -> int:
        """How many items `loss` sums over; the loop divides by their count over the whole effective batch."""
        return 0 if batch.labels is None else int((batch.labels != IGNORED).sum())

    # --- Predictions

    @abstractmethod
    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        """What the outputs say of each example."""

    def loss_in(self, readings: Sequence[Reading]) -> float | None:
        """The sum that `loss` gives for a batch, where `read` has told it already; None where it has not."""
        return None

    def generate(self, model: Any, batch: Batch) -> list[Reading] | None:
        """What the model writes for each example, added to what was read; None where the task asks for no text."""
        return None

    def calibrate(self, rows: Iterable[Row], readings: Sequence[Sequence[Reading]], references: Sequence[Any]) -> None:
        """Chooses on the validation rows what turns readings into predictions (thresholds). `config` keeps it."""

    def join(self, row: Row, readings: Sequence[Reading]) -> Prediction:
        """The prediction of a row from what was read of its examples."""
        return readings[0]

    @abstractmethod
    def reference(self, row: Row) -> Any:
        """What the prediction of this row is compared with, as plain data."""

    def row(self, line: str) -> dict[str, Any]:
        """A line typed by a user as a row: JSON with the columns, or text where one column is enough.

        Raises:
            UserError: the line does not say all that the task needs.
        """
        raise UserError(f"this task reads JSON lines with {', '.join(self.columns().values())}, given {line!r:.60}")

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        """What does not fit a column: a per-class table; nothing for most."""
        return {}
