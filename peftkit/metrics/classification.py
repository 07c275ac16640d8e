"""Scores of single-label classification, on scikit-learn. Predictions carry ``label``, references are class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Predictions = Sequence[Mapping[str, Any]]


def accuracy(predictions: Predictions, references: Sequence[str]) -> float:
    """Share of rows whose class is right (scikit-learn, accuracy_score)."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(references, labels(predictions)))


def macro_f1(predictions: Predictions, references: Sequence[str]) -> float:
    """Unweighted mean of F1 over the classes in predictions or references; a class without a hit counts 0."""
    return _f1(predictions, references, "macro")


def weighted_f1(predictions: Predictions, references: Sequence[str]) -> float:
    """Mean of the classes' F1, weighted by their rows in the references."""
    return _f1(predictions, references, "weighted")


def matthews_correlation(predictions: Predictions, references: Sequence[str]) -> float:
    """Matthews correlation for any number of classes (Gorodkin 2004; scikit-learn, matthews_corrcoef); -1 to 1."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(references, labels(predictions)))


def per_class(predictions: Predictions, references: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and rows (``support``) of every class."""
    from sklearn.metrics import precision_recall_fscore_support

    names = sorted({*references, *labels(predictions)})
    columns = precision_recall_fscore_support(references, labels(predictions), labels=names, zero_division=0)
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(names, *columns, strict=True)
    }


def labels(predictions: Predictions) -> list[str]:
    """The predicted class names."""
    return [str(prediction["label"]) for prediction in predictions]


def _f1(predictions: Predictions, references: Sequence[str], average: str) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(references, labels(predictions), average=average, zero_division=0))
