"""Scores of extractive question answering in Chinese as the CMRC 2018 evaluation script defines them, as shares of 1.

A prediction carries ``answer``, its reference is the list of acceptable answers. Chinese characters are segments of
their own, what stands between them is split by NLTK. The script's punctuation is Chinese punctuation and a few ASCII
signs; the comma and the full stop of ASCII are not among them.
https://github.com/ymcui/cmrc2018 (baseline/cmrc2018_evaluate.py). CMRC 2018 has no question without an answer; here
such a question counts 1 if and only if the prediction is empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from math import nan
from statistics import fmean

from peftkit.contracts import Prediction

Answers = Sequence[Sequence[str]]

# The script lists …… as one entry and compares single characters with it: an ellipsis is never removed. So it is here.
_NO_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE = re.compile("([\u4e00-\u9fa5])")


def cmrc_exact_match(predictions: Sequence[Prediction], references: Answers) -> float:
    """Share of answers that equal an acceptable one in lower case without punctuation (CMRC 2018 script, EM)."""
    return _mean_of_best(_same, predictions, references)


def cmrc_f1(predictions: Sequence[Prediction], references: Answers) -> float:
    """Mean of the best F1 with an acceptable answer, over the longest run of segments in common (CMRC 2018 script, F1).

    The script's find_lcs finds the longest common *substring*, not the longest common subsequence.
    """
    return _mean_of_best(_overlap, predictions, references)


def _bare(text: str) -> str:
    return text.lower().strip().translate(_NO_PUNCTUATION)


def _segments(text: str) -> list[str]:
    """Characters of Chinese, words of anything else.

    The script splits sentences before words, for which NLTK needs a model to download; answers are short, so their
    only difference is a full stop that ends a sentence inside an answer.
    """
    from nltk.tokenize import word_tokenize

    parts = [part for part in _CHINESE.split(_bare(text)) if part]
    return [
        segment
        for part in parts
        for segment in ([part] if _CHINESE.match(part) else word_tokenize(part, preserve_line=True))
    ]


def _same(given: str, right: str) -> float:
    return float(_bare(given) == _bare(right))


def _overlap(given: str, right: str) -> float:
    """F1 of the longest common run of segments; 0 where there is none, even of two answers without a segment."""
    found, expected = _segments(given), _segments(right)
    common = SequenceMatcher(None, found, expected, autojunk=False).find_longest_match().size
    return 2 * common / (len(found) + len(expected)) if common else 0.0


def _mean_of_best(score: Callable[[str, str], float], predictions: Sequence[Prediction], references: Answers) -> float:
    best = [
        max(score(prediction["answer"], right) for right in answers) if answers else float(not prediction["answer"])
        for prediction, answers in zip(predictions, references, strict=True)
    ]
    return fmean(best) if best else nan
