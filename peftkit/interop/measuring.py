"""What a model says on a run's own rows, before and after it was turned into another form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Task
from peftkit.data import Encoded, Given
from peftkit.evaluate import evaluate
from peftkit.model.logits import logits_of
from peftkit.output import CHECKED_ROWS, TOLERANCE
from peftkit.record import RECORD_FILE, STACK, Record, environment
from peftkit.trained import Trained

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from torch.nn import Module


@dataclass(frozen=True)
class Ruler:
    """The rows that two forms of one model are compared on: all of a split for scores, its first ones for logits."""

    task: Task
    accelerator: Accelerator
    split: str
    rows: Encoded
    eval_batch_size: int

    def scores(self, model: Module) -> dict[str, float]:
        """The task's metrics and the loss on the whole split."""
        return evaluate(model, self.rows, self.task, self.accelerator, self.eval_batch_size).scores

    def logits(self, model: Module) -> Tensor:
        """Of the first rows, flat."""
        batch = self.task.collate(self.rows.examples[:CHECKED_ROWS]).to(self.accelerator.device)
        return logits_of(model, batch, self.accelerator)


@dataclass(frozen=True)
class Measured:
    """What one form of the model says."""

    logits: Tensor
    scores: dict[str, float]


def ruler(trained: Trained, folder: Path, given: Given | None) -> Ruler:
    """The split that the run was scored on (test, or validation), or test rows of the data that overrides name.

    Raises:
        UserError: the data is not there any more.
    """
    record = Record.load(folder) if (folder / RECORD_FILE).is_file() and not trained.other_data else None
    split = (record.scored_split if record else None) or "test"
    size = trained.recipe.training.eval_batch_size
    return Ruler(trained.task, trained.accelerator, split, trained.encoded(split, given), size)


def measure(by: Ruler, model: Module) -> Measured:
    """Logits and scores of `model`."""
    return Measured(by.logits(model), by.scores(model))


def compared(by: Ruler, before: Measured, after: Measured) -> dict[str, Any]:
    """Both forms side by side, as JSON data; `logit_difference` is the largest over all logits compared."""
    return {
        "logit_difference": float((before.logits - after.logits).abs().max()),
        "largest_logit": float(before.logits.abs().max()),
        "examples_compared": min(CHECKED_ROWS, len(by.rows)),
        "split": by.split,
        "rows_scored": len(by.rows.rows),
        "scores": {"before": before.scores, "after": after.scores},
    }


def beyond_rounding(report: dict[str, Any], dtype: str) -> float | None:
    """The difference that rounding in `dtype` explains, where the report's is larger; None where all is well."""
    allowed = TOLERANCE[dtype] * max(1.0, report["largest_logit"])
    return None if report["logit_difference"] <= allowed else allowed


def stack() -> dict[str, str | None]:
    """Versions of the packages that matter, by name."""
    versions: dict[str, str | None] = environment({})["versions"]
    return {package: versions[package] for package in STACK}
