"""Scores of multiple choice: which choice would be taken under two ways of comparing their likelihoods.

References are the right choices. The score of the choice that the model really takes is `accuracy`.
"""

from __future__ import annotations

from collections.abc import Sequence

from peftkit.contracts import Prediction


def summed_accuracy(predictions: Sequence[Prediction], references: Sequence[str]) -> float:
    """Share of rows where the choice of the highest log-likelihood is right (lm-evaluation-harness, acc)."""
    return _share_right("summed_label", predictions, references)


def normalized_accuracy(predictions: Sequence[Prediction], references: Sequence[str]) -> float:
    """Share of rows where the choice of the highest log-likelihood for its length is right.

    The task that gives ``normalized_label`` counts UTF-8 bytes; lm-evaluation-harness (acc_norm) counts characters,
    which is the same in ASCII.
    """
    return _share_right("normalized_label", predictions, references)


def _share_right(field: str, predictions: Sequence[Prediction], references: Sequence[str]) -> float:
    from statistics import fmean

    return fmean(prediction[field] == right for prediction, right in zip(predictions, references, strict=True))
