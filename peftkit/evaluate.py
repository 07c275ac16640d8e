"""Predictions of a model on encoded rows, on all processes, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Prediction, Reading, Task
from peftkit.data import Encoded, in_length_order
from peftkit.errors import UserError, unknown
from peftkit.metrics import metric, prepare
from peftkit.recipe import Training

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.nn import Module


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one split, and row by row what they come from."""

    split: str
    scores: dict[str, float]
    """By metric name; ``loss`` too where rows have labels."""
    detail: dict[str, Any]
    """What does not fit a column, e.g. a per-class table."""
    predictions: list[Prediction]
    references: list[Any]
    numbers: list[int]
    """Each row's number at the source, from 1."""

    def rows(self) -> list[dict[str, Any]]:
        """One flat row a scored row: ``row`` (from 0), ``source_row`` (its number at the source, from 1),
        ``reference``, and the prediction's fields."""
        scored = zip(self.numbers, self.references, self.predictions, strict=True)
        return [
            {"row": place, "source_row": number, "reference": reference, **found}
            for place, (number, reference, found) in enumerate(scored)
        ]


def read(
    model: Module, rows: Encoded, task: Task, accelerator: Accelerator, batch_size: int
) -> tuple[list[list[Reading]], float | None]:
    """What was read of every row's examples, and the mean loss where rows have labels; the same on every process.

    Batches go by length and are dealt out to the processes; every example is read once, so nothing is counted twice.
    Only what was read of a batch is kept.
    """
    import torch
    from accelerate.utils import gather_object

    model.eval()
    found: list[tuple[int, Reading]] = []
    loss, items = 0.0, 0
    batches = in_length_order(rows.lengths, batch_size)
    with torch.no_grad(), accelerator.autocast():
        for numbers in batches[accelerator.process_index :: accelerator.num_processes]:
            batch = task.collate([rows.examples[number] for number in numbers]).to(accelerator.device)
            outputs = model(**batch.inputs)
            readings = task.read(outputs, batch)
            if batch.labels is not None:
                known = task.loss_in(readings)
                loss += task.loss(outputs, batch).item() if known is None else known
                items += task.supervised(batch)
            del outputs  # a vocabulary's logits would otherwise stay while the model writes
            written = task.generate(model, batch) or [{}] * len(readings)
            found += [(i, one | more) for i, one, more in zip(numbers, readings, written, strict=True)]
    sums = [(loss, items)]
    if accelerator.num_processes > 1:
        found, sums = gather_object(found), gather_object(sums)
    by_row: list[list[Reading]] = [[] for _ in range(len(rows.rows))]
    for number, reading in sorted(found, key=lambda pair: pair[0]):
        by_row[rows.owners[number]].append(reading)
    total, count = sum(part[0] for part in sums), sum(part[1] for part in sums)
    return by_row, total / count if count else None


def check_metrics(task: Task, training: Training) -> None:
    """Loads the metrics that live outside peftkit; the task has learnt, so that all it scores is known.

    Raises:
        UserError: a metric is not there, or the one to choose the best by is not scored.
    """
    for name in task.metrics:
        prepare(name)
    chosen, scored = training.metric_for_best_model, (*task.metrics, "loss")
    if chosen is not None and chosen not in scored:
        raise UserError(unknown("metric", chosen, scored), ("training", "metric_for_best_model"))


def predict(model: Module, rows: Encoded, task: Task, accelerator: Accelerator, batch_size: int) -> list[Prediction]:
    """One prediction a row, in the rows' order."""
    return _joined(rows, task, read(model, rows, task, accelerator, batch_size)[0])


def evaluate(
    model: Module,
    rows: Encoded,
    task: Task,
    accelerator: Accelerator,
    batch_size: int,
    *,
    calibrate: bool = False,
) -> Evaluation:
    """Predicts every row and scores: the task's metrics, and ``loss``, the mean without any regularization.

    With `calibrate` the task first chooses on these rows what turns readings into predictions.
    """
    readings, loss = read(model, rows, task, accelerator, batch_size)
    if calibrate and task.calibrated:
        task.calibrate(rows.rows, readings, rows.references)
    predictions = _joined(rows, task, readings)
    scores = {name: metric(name).compute(predictions, rows.references) for name in task.metrics}
    if loss is not None:
        scores["loss"] = loss
    return Evaluation(
        split=rows.split,
        scores=scores,
        detail=task.detail(predictions, rows.references),
        predictions=predictions,
        references=rows.references,
        numbers=rows.numbers,
    )


def _joined(rows: Encoded, task: Task, readings: list[list[Reading]]) -> list[Prediction]:
    return [task.join(row, of_row) for row, of_row in zip(rows.rows, readings, strict=True)]
