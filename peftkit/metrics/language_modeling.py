"""Scores of a language model by the likelihood of the text that it is supervised on.

A prediction carries ``log_likelihood`` (natural logarithm, summed over the supervised tokens of the row), ``tokens``
(how many those are) and ``bytes`` (of their text in UTF-8); references are not looked at. Sums run over all rows, so a
row without a token changes nothing. Without any token, or byte, a score is nan; one too large for a float is inf.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, log, nan
from typing import Any

from peftkit.contracts import Prediction


def perplexity(predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
    """exp(-Σ log-likelihood / Σ tokens): comparable only between models of the same tokenizer (transformers, docs)."""
    return _exp(_loss_per("tokens", predictions))


def byte_perplexity(predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
    """exp(-Σ log-likelihood / Σ bytes), whatever the tokenizer (lm-evaluation-harness, byte_perplexity)."""
    return _exp(_loss_per("bytes", predictions))


def bits_per_byte(predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
    """-Σ log-likelihood / Σ bytes / ln 2 (lm-evaluation-harness, bits_per_byte)."""
    return _loss_per("bytes", predictions) / log(2)


def _loss_per(unit: str, predictions: Sequence[Prediction]) -> float:
    count = sum(prediction[unit] for prediction in predictions)
    return -sum(prediction["log_likelihood"] for prediction in predictions) / count if count else nan


def _exp(value: float) -> float:
    try:
        return exp(value)
    except OverflowError:
        return inf
