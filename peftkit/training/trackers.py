"""Trackers (tensorboard, wandb, …) fed through accelerate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from peftkit.contracts import Step, Watcher
from peftkit.recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def track(accelerator: Accelerator, recipe: Recipe) -> Sequence[Watcher]:
    """A watcher that feeds the recipe's trackers; none where it names none."""
    if not recipe.training.report_to:
        return ()
    accelerator.init_trackers("peftkit", config={"recipe": recipe.to_yaml(), "hash": recipe.hash, "seed": recipe.seed})
    return (TrackerWatcher(accelerator, recipe.training.logging_steps),)


class TrackerWatcher(Watcher):
    """Logs ``train/loss``, ``train/learning_rate``, ``train/tokens_per_second`` and ``validation/METRIC`` by step."""

    def __init__(self, accelerator: Accelerator, every: int) -> None:
        self.accelerator, self.every = accelerator, every

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
