"""Scores of extractive question answering as the SQuAD 2.0 evaluation script defines them, as shares of 1.

A prediction carries ``answer``, empty where the model finds none; its reference is the list of acceptable answers,
empty for a question without one. SQuAD 1.1 is the case where no list is empty.
https://rajpurkar.github.io/SQuAD-explorer/ (Rajpurkar et al. 2018; evaluate-v2.0.py)
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import nan
from statistics import fmean

from peftkit.contracts import Prediction

Answers = Sequence[Sequence[str]]


def squad_exact_match(predictions: Sequence[Prediction], references: Answers) -> float:
    """Share of answers that equal an acceptable one after normalization (SQuAD 2.0 script, exact).

    Without an acceptable answer, 1 if and only if the prediction is empty after normalization.
    """
    return _mean(_rows(_same, predictions, references))


def squad_f1(predictions: Sequence[Prediction], references: Answers) -> float:
    """Mean of the best F1 over words with an acceptable answer (SQuAD 2.0 script, f1).

    Without an acceptable answer, 1 if and only if the prediction is empty after normalization. Words are split at
    blanks: an answer in Chinese is a single word, see `cmrc_f1`.
    """
    return _mean(_rows(_overlap, predictions, references))


def squad_has_answer_f1(predictions: Sequence[Prediction], references: Answers) -> float:
    """`squad_f1` of the questions that have an answer (SQuAD 2.0 script, HasAns_f1); nan without such a question."""
    rows = zip(_rows(_overlap, predictions, references), references, strict=True)
    return _mean(score for score, answers in rows if answers)


def squad_no_answer_accuracy(predictions: Sequence[Prediction], references: Answers) -> float:
    """Share of the questions without an answer that get none (SQuAD 2.0 script, NoAns_f1); nan without such ones."""
    rows = zip(_rows(_same, predictions, references), references, strict=True)
    return _mean(score for score, answers in rows if not answers)


def _normalized(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and superfluous blanks."""
    bare = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def _acceptable(answers: Iterable[str]) -> list[str]:
    """The answers that normalization leaves something of, as in the script; none means: no answer is right."""
    return [answer for answer in answers if _normalized(answer)]


def _same(given: str, right: str) -> float:
    return float(_normalized(given) == _normalized(right))


def _overlap(given: str, right: str) -> float:
    """F1 of the two bags of words."""
    found, expected = _normalized(given).split(), _normalized(right).split()
    if not found or not expected:
        return float(found == expected)
    common = (Counter(found) & Counter(expected)).total()
    return 2 * common / (len(found) + len(expected))


def _rows(score: Callable[[str, str], float], predictions: Sequence[Prediction], references: Answers) -> list[float]:
    return [
        max(score(prediction["answer"], right) for right in _acceptable(answers) or [""])
        for prediction, answers in zip(predictions, references, strict=True)
    ]


def _mean(scores: Iterable[float]) -> float:
    scores = list(scores)
    return fmean(scores) if scores else nan
