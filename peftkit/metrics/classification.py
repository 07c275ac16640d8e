"""Scores of classification, on scikit-learn: one label a row, or any number of them.

A prediction carries ``label`` and its reference is a class name; or it carries ``labels`` and its reference is a list
of class names. Where a score is a mean over classes, these are the classes that predictions or references hold.
A prediction that is marked as not ``valid`` is wrong, and no class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from peftkit.contracts import Prediction


def accuracy(predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
    """Share of rows whose class, or whose whole set of classes, is right (scikit-learn, accuracy_score)."""
    from sklearn.metrics import accuracy_score

    _, true, predicted = _encoded(predictions, references)
    return float(accuracy_score(true, predicted))


def macro_f1(predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
    """Unweighted mean of the classes' F1 (scikit-learn, f1_score); a class without a hit counts 0."""
    return _f1(predictions, references, "macro")


def weighted_f1(predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
    """Mean of the classes' F1, weighted by their rows in the references (scikit-learn, f1_score)."""
    return _f1(predictions, references, "weighted")


def micro_f1(predictions: Sequence[Prediction], references: Sequence[Sequence[str]]) -> float:
    """F1 of all pairs of row and class together (scikit-learn, f1_score); 0 where there are none.

    For one label a row it would equal the accuracy.
    """
    return _f1(predictions, references, "micro")


def matthews_correlation(predictions: Sequence[Prediction], references: Sequence[str]) -> float:
    """Matthews correlation for any number of classes (Gorodkin 2004; scikit-learn, matthews_corrcoef); -1 to 1."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(references, _labels(predictions)))


def label_ranking_average_precision(predictions: Sequence[Prediction], references: Sequence[Sequence[str]]) -> float:
    """Mean over a row's right labels of the share of right ones among those scored at least as high.

    Reads ``scores``, the probability of every label by name (scikit-learn, label_ranking_average_precision_score). A
    row where no label is right, or every one, counts 1.
    """
    from sklearn.metrics import label_ranking_average_precision_score

    names = sorted(predictions[0]["scores"])
    scores = [[prediction["scores"][name] for name in names] for prediction in predictions]
    return float(label_ranking_average_precision_score(_indicators(references, names), scores))


def per_class(predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and rows (``support``) of every class."""
    from sklearn.metrics import precision_recall_fscore_support

    names, true, predicted = _encoded(predictions, references)
    if not names:
        return {}
    columns = precision_recall_fscore_support(true, predicted, labels=_known(names, predictions), zero_division=0)
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(names, *columns, strict=True)
    }


def _f1(predictions: Sequence[Prediction], references: Sequence[Any], average: str) -> float:
    from sklearn.metrics import f1_score

    names, true, predicted = _encoded(predictions, references)
    if not names:
        return 0.0
    known = _known(names, predictions)
    return float(f1_score(true, predicted, labels=known, average=average, zero_division=0))


def _labels(predictions: Sequence[Prediction]) -> list[str]:
    return [str(prediction["label"]) for prediction in predictions]


def _several(predictions: Sequence[Prediction]) -> bool:
    return "labels" in predictions[0]


def _encoded(predictions: Sequence[Prediction], references: Sequence[Any]) -> tuple[list[str], Any, Any]:
    """The classes' names; references and predictions as scikit-learn takes them: names, or ``(rows, classes + 1)``."""
    if not _several(predictions):
        found = _labels(predictions)
        held = (label for label, one in zip(found, predictions, strict=True) if one.get("valid", True))
        return sorted({*references, *held}), references, found
    sets = [prediction["labels"] for prediction in predictions]
    names = sorted({name for row in (*sets, *references) for name in row})
    # One empty column more: scikit-learn reads a matrix of a single column as one label a row.
    return names, _indicators(references, [*names, None]), _indicators(sets, [*names, None])


def _indicators(rows: Iterable[Iterable[str]], names: Sequence[str | None]) -> Any:
    import numpy as np

    return np.array([[int(name in held) for name in names] for held in map(set, rows)])


def _known(names: Sequence[str], predictions: Sequence[Prediction]) -> Sequence[Any]:
    """The classes as scikit-learn numbers them."""
    return range(len(names)) if _several(predictions) else names
