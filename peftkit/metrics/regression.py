"""Scores of regression. A prediction carries ``value``, its reference is a number."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import nan
from typing import Any

from peftkit.contracts import Prediction


def pearson(predictions: Sequence[Prediction], references: Sequence[float]) -> float:
    """Pearson's correlation (scipy, pearsonr); nan for fewer than two rows or where one side is constant."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, predictions, references)


def spearman(predictions: Sequence[Prediction], references: Sequence[float]) -> float:
    """Spearman's rank correlation (scipy, spearmanr); nan for fewer than two rows or where one side is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, predictions, references)


def mean_squared_error(predictions: Sequence[Prediction], references: Sequence[float]) -> float:
    """Mean of the squared differences (scikit-learn, mean_squared_error), in the square of the target's unit."""
    return _mean_distance(predictions, references, 2)


def mean_absolute_error(predictions: Sequence[Prediction], references: Sequence[float]) -> float:
    """Mean of the absolute differences (scikit-learn, mean_absolute_error), in the target's unit."""
    return _mean_distance(predictions, references, 1)


def _values(predictions: Sequence[Prediction]) -> list[float]:
    return [float(prediction["value"]) for prediction in predictions]


def _correlation(function: Callable[..., Any], predictions: Sequence[Prediction], references: Sequence[float]) -> float:
    if len(predictions) < 2:
        return nan
    with warnings.catch_warnings():
        # A model that has not learnt yet predicts a constant: nan says so, a warning every epoch does not help.
        warnings.simplefilter("ignore")
        return float(function(_values(predictions), references)[0])


def _mean_distance(predictions: Sequence[Prediction], references: Sequence[float], power: int) -> float:
    """By numpy, not by scikit-learn, which refuses the nan and inf of a run that has diverged."""
    import numpy as np

    with np.errstate(all="ignore"):
        distances = np.abs(np.subtract(_values(predictions), references, dtype=np.float64))
        return float(np.mean(distances**power))
