"""Scores of what an extractor reads out of generated text: an answer, or one of a task's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from statistics import fmean
from typing import Any

from peftkit.contracts import Prediction


def exact_match(predictions: Sequence[Prediction], references: Sequence[Mapping[str, Any]]) -> float:
    """Share of rows whose extracted answer is one of the reference's (lm-evaluation-harness, exact_match).

    ``extracted`` is compared as it stands; where nothing was extracted (None) the row is wrong.
    """
    rows = zip(predictions, references, strict=True)
    hits = [row["extracted"] is not None and row["extracted"] in right["extracted"] for row, right in rows]
    return fmean(hits) if hits else nan


def invalid_share(predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
    """Share of rows whose generated text names none of the task's labels (``valid`` is false), right or wrong."""
    return fmean(not prediction["valid"] for prediction in predictions) if predictions else nan
