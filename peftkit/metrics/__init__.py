"""The METRICS table: a new metric is one function in a file and one line here."""

from __future__ import annotations

from peftkit.contracts import Metric
from peftkit.metrics.classification import accuracy, macro_f1, matthews_correlation, weighted_f1

METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "higher", "share of rows whose class is right"),
    "macro_f1": Metric(macro_f1, "higher", "unweighted mean of the classes' F1 (scikit-learn, zero_division=0)"),
    "weighted_f1": Metric(weighted_f1, "higher", "mean of the classes' F1 by their rows (scikit-learn)"),
    "matthews_correlation": Metric(matthews_correlation, "higher", "multi-class Matthews coefficient (scikit-learn)"),
}
