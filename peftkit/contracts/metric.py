"""Metric: predictions and references → a score. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peftkit.contracts.rows import Prediction

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """A pure function of predictions and references to a score."""

    compute: Callable[[Sequence[Prediction], Sequence[Any]], float]
    direction: Direction
    definition: str
    """Which definition the number follows."""
    reads: tuple[str, ...] = ("label",)
    """Fields of a prediction that it can read; it fits the tasks that give one of them."""
