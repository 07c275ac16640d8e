"""Trackers (tensorboard, wandb, …) fed through accelerate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from peftkit.contracts import Step, Watcher
from peftkit.errors import UserError, unknown
from peftkit.recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


REPORT_TO = ("training", "report_to")


def check_trackers(names: Sequence[str]) -> None:
    """Raises UserError for a tracker that accelerate does not know, or whose package is not installed."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    absent = set(LoggerType) - set(get_available_trackers())
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:  # the built-in ones, and those registered with accelerate
            raise UserError(unknown("tracker", name, LOGGER_TYPE_TO_CLASS), REPORT_TO)
        if name in {tracker.value for tracker in absent}:
            raise UserError(f"tracker {name!r} is not installed here", REPORT_TO)


def track(accelerator: Accelerator, recipe: Recipe) -> Sequence[Watcher]:
    """A watcher that feeds the recipe's trackers; none where it names none."""
    return (TrackerWatcher(accelerator, recipe),) if recipe.training.report_to else ()


class TrackerWatcher(Watcher):
    """Logs ``train/loss``, ``train/learning_rate``, ``train/tokens_per_second`` and ``validation/METRIC`` by step."""

    def __init__(self, accelerator: Accelerator, recipe: Recipe) -> None:
        self.accelerator, self.recipe, self.every = accelerator, recipe, recipe.training.logging_steps

    def training_started(self, total_steps: int) -> None:
        """Opens the trackers; not before, for a mistake found until then leaves no file behind."""
        config = {"recipe": self.recipe.to_yaml(), "hash": self.recipe.hash, "seed": self.recipe.seed}
        self.accelerator.init_trackers("peftkit", config=config)

    def stepped(self, step: Step) -> None:
        if step.number % self.every == 0 or step.number == 1:
            values = {
                "loss": step.loss,
                "learning_rate": step.learning_rate,
                "tokens_per_second": step.tokens / step.seconds,
            }
            self.accelerator.log({f"train/{name}": value for name, value in values.items()}, step=step.number)

    def evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        self.accelerator.log({f"validation/{name}": value for name, value in scores.items()}, step=step)

    def phase_ended(self, phase: str) -> None:
        if phase == "save":
            self.accelerator.end_training()
