"""What holds for every metric: a case for each field that it reads, right is best, and rows may come in any order."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from math import isclose, log
from typing import Any, NamedTuple

import pytest

from peftkit.errors import UserError
from peftkit.metrics import METRICS, known, metric, prepare


class Case(NamedTuple):
    """References of one kind of task, with predictions that are all right, partly right, and worse."""

    references: list[Any]
    right: list[Any]
    partly: list[Any]
    worse: list[Any]


TEXTS = [
    {"texts": ["the cat sat on the mat", "a cat was on the mat"], "extracted": ["one"]},
    {"texts": ["dogs bark at night in town"], "extracted": ["two", "2"]},
    {"texts": ["it is raining again over there"], "extracted": ["three"]},
]
GENERATED = [
    ["the cat sat on the mat", "dogs bark at night in town", "it is raining again over there"],
    ["the cat sat on the rug", "dogs bark at night in town", "it rains"],
    ["fish", "dogs", "sun and moon"],
]
PROBABILITIES = {"a": 0.9, "b": 0.5, "c": 0.1}
CASES = {
    "label": Case(list("aaabbc"), list("aaabbc"), list("aabbcc"), list("bcbaab")),
    "labels": Case([["a"], ["a", "b"], []], [["a"], ["b", "a"], []], [["a"], ["b"], []], [["b"], [], ["a"]]),
    "scores": Case(
        [["a"], ["a", "b"], ["a"]],
        [PROBABILITIES] * 3,
        [{"a": 0.2, "b": 0.5, "c": 0.1}, PROBABILITIES, PROBABILITIES],
        [{"a": 0.1, "b": 0.2, "c": 0.9}] * 3,
    ),
    "value": Case([1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 4.0, 3.0], [1.5, 2.0, 2.5, 4.0], [9.0, 5.0, 0.0, -2.0]),
    "tags": Case(
        [["B-X", "I-X", "O"], ["O", "B-Y", "B-X"]],
        [["B-X", "I-X", "O"], ["O", "B-Y", "B-X"]],
        [["B-X", "I-X", "O"], ["B-Y", "O", "B-X"]],
        [["O", "O", "O"], ["B-Y", "O", "O"]],
    ),
    # The second question has no answer.
    "answer": Case([["Paris", "city"], [], ["two cats"]], ["Paris", "", "two cats"], ["city", "", "cats"], ["x"] * 3),
    "extracted": Case(TEXTS, ["one", "2", "three"], ["one", "two", "four"], [None, None, None]),
    "text": Case(TEXTS, *GENERATED),
    "valid": Case(["a"] * 3, [True] * 3, [True, False, True], [False] * 3),
    "log_likelihood": Case([None] * 3, [0.0] * 3, [-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]),
}
CASES |= {"summed_label": CASES["label"], "normalized_label": CASES["label"]}
BEST = {
    **dict.fromkeys(METRICS, 1.0),
    **dict.fromkeys(("bleu", "chrf"), 100.0),
    **dict.fromkeys(("mean_squared_error", "mean_absolute_error", "bits_per_byte", "invalid_share"), 0.0),
}
# Needs all answers wrong to be wrong, and looks at one kind of question only.
PARTLY_RIGHT_IS_BEST = {"squad_no_answer_accuracy"}

each_reading = pytest.mark.parametrize(
    "name, field", [(name, field) for name, found in METRICS.items() for field in found.reads]
)


def score(name: str, field: str, predicted: list[Any], references: list[Any]) -> float:
    sizes = {"tokens": 2, "bytes": 8} if field == "log_likelihood" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return METRICS[name].compute([{field: value, **sizes} for value in predicted], references)


@each_reading
def test_right_is_best_and_wrong_is_worse(name: str, field: str) -> None:
    case = CASES[field]
    right, partly, worse = (score(name, field, rows, case.references) for rows in case[1:])
    assert right == pytest.approx(BEST[name])
    if METRICS[name].direction == "higher":
        right, partly, worse = -right, -partly, -worse
    assert right < worse and partly < worse
    assert right < partly or name in PARTLY_RIGHT_IS_BEST


@each_reading
def test_a_score_is_a_plain_number_that_does_not_depend_on_the_order_of_rows(name: str, field: str) -> None:
    references, _, predicted, _ = CASES[field]
    value = score(name, field, predicted, references)
    pairs = list(zip(predicted, references, strict=True))
    random.Random(0).shuffle(pairs)
    assert [pair[0] for pair in pairs] != predicted or len({map(str, predicted)}) == 1
    shuffled = score(name, field, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    assert type(value) is float and isclose(shuffled, value)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name: str) -> None:
    found = METRICS[name]
    assert found.direction in ("higher", "lower") and found.definition and found.compute.__doc__ and found.reads
    assert metric(name) is found and known(name)
    prepare(name)


def test_an_unknown_metric_names_the_nearest() -> None:
    assert not known("acuracy") and not known("evaluate:") and not known("evaluate:#f1")
    with pytest.raises(UserError, match="unknown metric 'acuracy', did you mean accuracy"):
        metric("acuracy")


def test_nothing_heavy_is_loaded_before_it_is_used() -> None:
    code = """
import sys, peftkit.metrics as m
m.known("evaluate:accuracy"), m.metric("evaluate:accuracy"), m.metric("bleu")
heavy = {"torch", "numpy", "scipy", "sklearn", "seqeval", "sacrebleu", "rouge_score", "nltk", "evaluate", "datasets"}
assert not (loaded := heavy & set(sys.modules)), loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_multiple_choice_reads_its_own_field() -> None:
    predictions = [
        {"label": "A", "summed_label": "A", "normalized_label": "B"},
        {"label": "A", "summed_label": "B", "normalized_label": "B"},
        {"label": "A", "summed_label": "C", "normalized_label": "B"},
    ]
    found = {name: metric(name).compute(predictions, ["A", "B", "B"]) for name in ("accuracy", "summed_accuracy")}
    assert found == {"accuracy": pytest.approx(1 / 3), "summed_accuracy": pytest.approx(2 / 3)}
    assert metric("normalized_accuracy").compute(predictions, ["A", "B", "B"]) == pytest.approx(2 / 3)


def test_language_modeling_sums_before_it_divides() -> None:
    # 3 ln 2 lost over 1 + 2 + 0 tokens and 6 + 6 + 0 bytes: perplexity e^(ln 2) = 2, a quarter of a bit per byte
    predictions = [
        {"log_likelihood": -log(2) * nats, "tokens": tokens, "bytes": size}
        for nats, tokens, size in [(3, 1, 6), (0, 2, 6), (0, 0, 0)]
    ]
    names = ("perplexity", "byte_perplexity", "bits_per_byte")
    found = [metric(name).compute(predictions, [None] * 3) for name in names]
    assert found == pytest.approx([2, 2**0.25, 0.25])


def test_language_modeling_of_nothing_and_of_too_much() -> None:
    nothing = [{"log_likelihood": 0.0, "tokens": 0, "bytes": 0}]
    too_much = [{"log_likelihood": -1e6, "tokens": 1, "bytes": 1}]
    for name in ("perplexity", "byte_perplexity", "bits_per_byte"):
        assert str(metric(name).compute(nothing, [None])) == "nan"
    assert metric("perplexity").compute(too_much, [None]) == metric("byte_perplexity").compute(too_much, [None])
    assert str(metric("perplexity").compute(too_much, [None])) == "inf"


def test_regression_by_hand() -> None:
    # x = 1 2 4 5 (mean 3), y = 2 1 5 4 (mean 3): Σ dx·dy = 2+2+2+2 = 8, Σ dx² = Σ dy² = 10: r = 0.8
    # ranks 1 2 3 4 and 2 1 4 3: 1 - 6·4/(4·15) = 0.6; differences 1 1 1 1
    predictions, references = [{"value": float(x)} for x in (1, 2, 4, 5)], [2.0, 1.0, 5.0, 4.0]
    names = ("pearson", "spearman", "mean_squared_error", "mean_absolute_error")
    found = [metric(name).compute(predictions, references) for name in names]
    assert found == pytest.approx([0.8, 0.6, 1, 1])
    far = [metric(name).compute([{"value": 3.0}, {"value": 1.0}], [0.0, 0.0]) for name in names[2:]]
    assert far == pytest.approx([5, 2])  # (9 + 1) / 2 and (3 + 1) / 2


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [1.0], [float("nan"), 1.0, 2.0]])
def test_a_correlation_that_is_not_defined_is_nan_without_a_warning(name: str, values: list[float]) -> None:
    assert str(score(name, "value", values, [1.0, 2.0, 3.0][: len(values)])) == "nan"


def test_errors_of_a_diverged_run_are_numbers() -> None:
    assert str(score("mean_squared_error", "value", [float("nan"), 1.0], [0.0, 0.0])) == "nan"
    assert str(score("mean_squared_error", "value", [1e200, 1.0], [0.0, 0.0])) == "inf"
