"""Predictions of a model on encoded rows, on all processes, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Task
from peftkit.data import Encoded, collate, in_length_order
from peftkit.metrics import METRICS

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.nn import Module
    from transformers import PreTrainedTokenizerBase

Prediction = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one split, and row by row what they come from."""

    scores: dict[str, float]
    """By metric name; ``loss`` too where rows have labels."""
    detail: dict[str, Any]
    """What does not fit a column, e.g. a per-class table."""
    predictions: list[Prediction]
    references: list[Any]

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per example: ``row`` (from 0), ``reference``, and the prediction's fields."""
        pairs = zip(self.predictions, self.references, strict=True)
        return [{"row": i, "reference": reference, **found} for i, (found, reference) in enumerate(pairs)]


def predict(
    model: Module,
    rows: Encoded,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    accelerator: Accelerator,
    batch_size: int,
) -> tuple[list[Prediction], float | None]:
    """One prediction a row, in the rows' order, and the mean loss where they have labels; the same on every process.

    Batches go by length and are dealt out to the processes; every row is read once, so nothing is counted twice. Only
    the predictions of a batch are kept.
    """
    import torch
    from accelerate.utils import gather_object

    model.eval()
    found: list[tuple[int, Prediction]] = []
    loss, items = 0.0, 0
    batches = in_length_order(rows.lengths, batch_size)
    with torch.no_grad(), accelerator.autocast():
        for numbers in batches[accelerator.process_index :: accelerator.num_processes]:
            batch = collate([rows.features[number] for number in numbers], tokenizer)
            batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
            outputs = model(**{name: tensor for name, tensor in batch.items() if name != "labels"})
            found += zip(numbers, task.read(outputs, batch), strict=True)
            if "labels" in batch:
                loss += task.loss(outputs, batch).item()
                items += task.supervised(batch)
    sums = [(loss, items)]
    if accelerator.num_processes > 1:
        found, sums = gather_object(found), gather_object(sums)
    total, count = sum(part[0] for part in sums), sum(part[1] for part in sums)
    return [prediction for _, prediction in sorted(found, key=lambda pair: pair[0])], total / count if count else None


def evaluate(
    model: Module,
    rows: Encoded,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    accelerator: Accelerator,
    batch_size: int,
) -> Evaluation:
    """Predicts every row and scores: the task's metrics, and ``loss``, the mean without any regularization."""
    predictions, loss = predict(model, rows, task, tokenizer, accelerator, batch_size)
    values = {name: METRICS[name].compute(predictions, rows.references) for name in task.metrics}
    if loss is not None:
        values["loss"] = loss
    return Evaluation(values, task.detail(predictions, rows.references), predictions, rows.references)
