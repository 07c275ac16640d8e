"""Classification: small cases worked out by hand, and the scores as scikit-learn's documentation defines them."""

import random
from collections import Counter
from math import sqrt

import pytest

from peftkit.metrics import METRICS
from peftkit.metrics.classification import per_class


def score(metric: str, predicted: str, references: str) -> float:
    """The metric of one-letter classes: ``score("accuracy", "aab", "abb")``."""
    return METRICS[metric].compute([{"label": label} for label in predicted], list(references))


# References a a a b b c, predictions a a b b c c:
#   a: 2 hits of 2 predicted and 3 there: precision 1,   recall 2/3, F1 = 2·1·(2/3)/(5/3) = 4/5
#   b: 1 hit  of 2 predicted and 2 there: precision 1/2, recall 1/2, F1 = 1/2
#   c: 1 hit  of 2 predicted and 1 there: precision 1/2, recall 1,   F1 = 2/3
REFERENCES, PREDICTED = "aaabbc", "aabbcc"


def test_accuracy_is_the_share_of_hits():
    assert score("accuracy", PREDICTED, REFERENCES) == pytest.approx(4 / 6)


def test_macro_f1_is_the_plain_mean_over_the_classes():
    assert score("macro_f1", PREDICTED, REFERENCES) == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)


def test_weighted_f1_is_the_mean_by_the_rows_of_the_references():
    assert score("weighted_f1", PREDICTED, REFERENCES) == pytest.approx((3 * 4 / 5 + 2 * 1 / 2 + 1 * 2 / 3) / 6)


def test_matthews_correlation_of_several_classes():
    # c hits, s rows, p_k predictions and t_k references of class k (scikit-learn's user guide, "Multiclass case"):
    # (c·s - Σ p_k·t_k) / sqrt((s² - Σ p_k²)(s² - Σ t_k²)) with c = 4, s = 6, p = (2, 2, 2), t = (3, 2, 1)
    expected = (4 * 6 - (2 * 3 + 2 * 2 + 2 * 1)) / sqrt((36 - 12) * (36 - 14))
    assert score("matthews_correlation", PREDICTED, REFERENCES) == pytest.approx(expected)


def test_matthews_correlation_of_two_classes():
    # tp = 2, tn = 1, fp = 1, fn = 1 for class a: (tp·tn - fp·fn) / sqrt(3 · 3 · 2 · 2) = 1/6
    assert score("matthews_correlation", "aaabb", "aabab") == pytest.approx(1 / 6)


def test_a_class_without_a_hit_counts_0():
    # a: precision 1/2, recall 1, F1 2/3; b is never predicted: 0; the mean is 1/3, weighted by 1 and 1 row as well
    assert score("macro_f1", "aa", "ab") == pytest.approx(1 / 3)
    assert score("weighted_f1", "aa", "ab") == pytest.approx(1 / 3)
    assert score("matthews_correlation", "aa", "ab") == 0


def test_a_class_that_is_only_predicted_lowers_the_plain_mean_and_not_the_weighted_one():
    # a: precision 1, recall 2/3, F1 4/5; x is not among the references: F1 0 with weight 0
    assert score("macro_f1", "aax", "aaa") == pytest.approx(2 / 5)
    assert score("weighted_f1", "aax", "aaa") == pytest.approx(4 / 5)


@pytest.mark.parametrize("seed", range(20))
def test_the_scores_follow_their_definitions_on_random_cases(seed):
    draw = random.Random(seed)
    classes = "abcdef"[: draw.randint(2, 6)]
    references = "".join(draw.choices(classes, k=60))
    predicted = "".join(draw.choice([label, draw.choice(classes)]) for label in references)
    hits = Counter(one for one, other in zip(predicted, references, strict=True) if one == other)
    p, t = Counter(predicted), Counter(references)
    f1 = {label: 2 * hits[label] / (p[label] + t[label]) for label in p | t}
    matthews = (60 * hits.total() - sum(p[k] * t[k] for k in f1)) / sqrt(
        (3600 - sum(n * n for n in p.values())) * (3600 - sum(n * n for n in t.values()))
    )
    assert score("accuracy", predicted, references) == pytest.approx(hits.total() / 60)
    assert score("macro_f1", predicted, references) == pytest.approx(sum(f1.values()) / len(f1))
    assert score("weighted_f1", predicted, references) == pytest.approx(sum(f1[k] * t[k] for k in t) / 60)
    assert score("matthews_correlation", predicted, references) == pytest.approx(matthews)


def test_the_table_by_class():
    found = per_class([{"label": label} for label in PREDICTED], list(REFERENCES))
    assert {name: tuple(row.values()) for name, row in found.items()} == {
        "a": pytest.approx((1, 2 / 3, 4 / 5, 3)),
        "b": pytest.approx((1 / 2, 1 / 2, 1 / 2, 2)),
        "c": pytest.approx((1 / 2, 1, 2 / 3, 1)),
    }
    assert list(found["a"]) == ["precision", "recall", "f1", "support"]
    assert per_class([{"label": "x"}], ["a"])["x"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


# Several labels a row. References {a,b} {b} {} {c}, predictions {a,b} {a} {} {c,b}:
#   a: 1 hit of 2 predicted and 1 there: precision 1/2, recall 1,   F1 = 2/3
#   b: 1 hit of 2 predicted and 2 there: precision 1/2, recall 1/2, F1 = 1/2
#   c: 1 hit of 1 predicted and 1 there: F1 = 1;  all pairs: 3 hits of 5 predicted and 4 there: F1 = 6/9
SETS, PREDICTED_SETS = ["ab", "b", "", "c"], ["ab", "a", "", "cb"]


def score_sets(metric: str, predicted: list[str], references: list[str]) -> float:
    """The metric of sets of one-letter classes."""
    return METRICS[metric].compute([{"labels": list(row)} for row in predicted], [list(row) for row in references])


@pytest.mark.parametrize(
    "metric, expected",
    [
        ("accuracy", 2 / 4),  # the first row and the empty one
        ("macro_f1", (2 / 3 + 1 / 2 + 1) / 3),
        ("weighted_f1", (2 / 3 + 2 * 1 / 2 + 1) / 4),
        ("micro_f1", 6 / 9),
    ],
)
def test_scores_of_several_labels_a_row(metric: str, expected: float) -> None:
    assert score_sets(metric, PREDICTED_SETS, SETS) == pytest.approx(expected)


def test_a_single_class_is_scored_as_any_other() -> None:
    # scikit-learn would take one column for one label a row and average over the classes 0 and 1
    for metric in ("macro_f1", "weighted_f1", "micro_f1"):
        assert score_sets(metric, ["a", "", "a"], ["a", "", ""]) == pytest.approx(2 / 3)
    assert score_sets("accuracy", ["a", "", "a"], ["a", "", ""]) == pytest.approx(2 / 3)


def test_no_label_at_all_is_all_right_and_holds_nothing_to_find() -> None:
    assert score_sets("accuracy", ["", ""], ["", ""]) == 1
    assert [score_sets(metric, ["", ""], ["", ""]) for metric in ("macro_f1", "weighted_f1", "micro_f1")] == [0, 0, 0]
    assert per_class([{"labels": []}], [[]]) == {}


def test_the_table_by_class_of_several_labels_a_row() -> None:
    found = per_class([{"labels": list(row)} for row in PREDICTED_SETS], [list(row) for row in SETS])
    assert {name: tuple(row.values()) for name, row in found.items()} == {
        "a": pytest.approx((1 / 2, 1, 2 / 3, 1)),
        "b": pytest.approx((1 / 2, 1 / 2, 1 / 2, 2)),
        "c": (1, 1, 1, 1),
    }


def test_label_ranking_average_precision() -> None:
    # scikit-learn's user guide: y_true [[1,0,0],[0,0,1]], y_score [[.75,.5,1],[1,.2,.1]]: (1/2 + 1/3) / 2 = 0.416…
    scores = [{"x": 0.75, "y": 0.5, "z": 1.0}, {"z": 0.1, "y": 0.2, "x": 1.0}]
    compute = METRICS["label_ranking_average_precision"].compute
    assert compute([{"scores": row} for row in scores], [["x"], ["z"]]) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert compute([{"scores": {"x": 0.3}}], [["x"]]) == 1  # one class only
