"""Watcher and probe: what sees a run go by, and what gives its costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True)
class Step:
    """One optimizer step. Seconds on this process; samples and tokens of all processes."""

    number: int
    """From 1."""
    loss: float
    """Mean over the supervised items of the whole effective batch, all processes."""
    learning_rate: float
    seconds: float
    samples: int
    tokens: int
    """Tokens that are not padding."""
    padded_tokens: int
    """All tokens that went through the model, padding included."""
    supervised: int
    """Items that the loss was summed over: rows, or tokens with a label."""


class Watcher:
    """Sees a run go by. Every event is a documented no-op; override what you need.

    Phases are ``import``, ``tokenize``, ``load``, ``train``, ``evaluate`` and ``save``; they do not nest: one that
    starts inside another suspends it.
    """

    def phase_started(self, phase: str) -> None:
        """A phase begins."""

    def phase_ended(self, phase: str) -> None:
        """A phase ends."""

    def model_ready(self, model: Module) -> None:
        """The trainable model stands, before the first step."""

    def training_started(self, total_steps: int) -> None:
        """So many optimizer steps lie ahead."""

    def stepped(self, step: Step) -> None:
        """An optimizer step is done."""

    def evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """The validation scores after optimizer step `step`."""

    def saved(self, folder: Path) -> None:
        """What was trained lies in `folder`."""


class Probe(Watcher, ABC):
    """A watcher that gives costs."""

    @abstractmethod
    def costs(self) -> dict[str, Any]:
        """The costs seen, by name, in the units that the probe's docstring states; missing stays missing."""
