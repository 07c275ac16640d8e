"""Steady-state throughput: the first steps, evaluation, saving and loading left out."""

from __future__ import annotations

import statistics
from typing import Any

from peftkit.contracts import Probe, Step


class ThroughputProbe(Probe):
    """Per second of steady optimizer steps, all processes together: ``samples_per_second``, ``tokens_per_second``
    (tokens that are not padding), ``padded_tokens_per_second`` (all tokens); ``padding_share`` (0 to 1); ``steps`` and
    ``steady_steps``; ``step_seconds_median`` and ``step_seconds_iqr``. Over all steps: ``train_seconds``,
    ``train_tokens`` (not padding) and ``supervised_items``, the rows or tokens that the loss was summed over.

    The first tenth of the steps, at least 1 and at most 10, warm caches and allocators up and are left out.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def stepped(self, step: Step) -> None:
        self.steps.append(step)

    def costs(self) -> dict[str, Any]:
        if not self.steps:
            return {}
        steady = self.steps[warm_up(len(self.steps)) :]
        seconds = sum(step.seconds for step in steady)
        real, padded = sum(step.tokens for step in self.steps), sum(step.padded_tokens for step in self.steps)
        costs: dict[str, Any] = {
            "steps": len(self.steps),
            "steady_steps": len(steady),
            "train_seconds": sum(step.seconds for step in self.steps),
            "train_tokens": real,
            "supervised_items": sum(step.supervised for step in self.steps),
            "padding_share": 1 - real / padded if padded else None,
        }
        if not steady:
            return costs
        times = sorted(step.seconds for step in steady)
        quarters = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
        return costs | {
            "samples_per_second": sum(step.samples for step in steady) / seconds,
            "tokens_per_second": sum(step.tokens for step in steady) / seconds,
            "padded_tokens_per_second": sum(step.padded_tokens for step in steady) / seconds,
            "step_seconds_median": statistics.median(times),
            "step_seconds_iqr": quarters[2] - quarters[0],
        }


def warm_up(steps: int) -> int:
    """Steps left out at the start of a run of `steps`; none where only one step was made."""
    return min(10, max(1, steps // 10)) if steps > 1 else 0
