"""The best evaluation so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from peftkit.metrics import direction


@dataclass
class Best:
    """The best validation score so far and where its weights are kept."""

    metric: str
    score: float | None = None
    step: int | None = None
    checkpoint: Path | None = None
    evaluations_since: int = 0

    def take(self, score: float, step: int) -> bool:
        """Notes the score of an evaluation; whether it is the best. A score that is not a number is never better."""
        if self._better(score):
            self.score, self.step, self.evaluations_since = score, step, 0
            return True
        self.evaluations_since += 1
        return False

    def out_of_patience(self, patience: int | None) -> bool:
        """Whether as many evaluations as `patience` brought nothing better."""
        return patience is not None and self.evaluations_since >= patience

    def _better(self, score: float) -> bool:
        if self.score is None or math.isnan(self.score):
            return True
        return score > self.score if direction(self.metric) == "higher" else score < self.score
