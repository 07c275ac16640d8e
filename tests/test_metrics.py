"""Scores of small cases worked out by hand, and the scores as scikit-learn's documentation defines them."""

import random
from collections import Counter
from math import isclose, sqrt

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


@pytest.mark.parametrize("metric", METRICS)
def test_all_right_scores_1_and_right_is_better_than_wrong(metric):
    assert METRICS[metric].direction in ("higher", "lower")
    assert score(metric, REFERENCES, REFERENCES) == pytest.approx(1)
    assert score(metric, "bcbaab", REFERENCES) < score(metric, PREDICTED, REFERENCES) < 1


@pytest.mark.parametrize("metric", METRICS)
def test_a_score_is_a_plain_number_that_does_not_depend_on_order_or_names(metric):
    value = score(metric, PREDICTED, REFERENCES)
    pairs = list(zip(PREDICTED, REFERENCES, strict=True))
    random.Random(0).shuffle(pairs)
    shuffled = ["".join(column) for column in zip(*pairs, strict=True)]
    assert type(value) is float and isclose(score(metric, *shuffled), value)
    renamed = str.maketrans("abc", "zmq")
    assert isclose(score(metric, PREDICTED.translate(renamed), REFERENCES.translate(renamed)), value)


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
