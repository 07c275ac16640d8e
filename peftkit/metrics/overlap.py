"""Scores of generated text by the characters and words that it shares with its references.

A prediction carries ``text``, its reference is ``{"texts": [...]}``: any number of acceptable texts, by row.
BLEU and chrF come from sacrebleu on its own scale, 0 to 100; ROUGE from rouge-score, 0 to 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from math import nan
from statistics import fmean
from typing import Any

from peftkit.contracts import Prediction

References = Sequence[Mapping[str, Any]]

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SCRIPT_WITHOUT_BLANKS = re.compile(f"[{_HAN}\u3040-\u30ff]")
"""A Chinese character or Japanese kana."""
_WORDS = re.compile(f"[a-z0-9]+|[{_HAN}\u3040-\u30ff]|[^\\W_\\x00-\u036f{_HAN}\u3040-\u30ff]+")


def bleu(predictions: Sequence[Prediction], references: References) -> float:
    """Corpus BLEU, 0 to 100 (Post 2018; sacrebleu, corpus_bleu with its defaults: 4-grams, exp smoothing, cased).

    Rows may have different numbers of references. Words are split by sacrebleu's ``zh`` where a reference has Chinese
    characters, else by ``13a``. Texts of fewer than four words score 0, right ones too.
    """
    from sacrebleu.metrics.bleu import BLEU

    written_in_chinese = any(_SCRIPT_WITHOUT_BLANKS.search(text) for row in references for text in row["texts"])
    return _corpus_score(BLEU(tokenize="zh" if written_in_chinese else "13a"), predictions, references)


def chrf(predictions: Sequence[Prediction], references: References) -> float:
    """Corpus chrF2, 0 to 100 (Popović 2015; sacrebleu, corpus_chrf with its defaults: 6-grams of characters, no words).

    Rows may have different numbers of references.
    """
    from sacrebleu.metrics.chrf import CHRF

    return _corpus_score(CHRF(), predictions, references)


def rouge1(predictions: Sequence[Prediction], references: References) -> float:
    """Mean F-measure of shared words (Lin 2004; rouge-score, rouge1), 0 to 1; by row, the best reference counts.

    No stemming. Latin text is split as rouge-score does, at all but a-z and 0-9. Its rule would drop every other
    script: here each Chinese character or kana is a word, and so is each run of letters of another script.
    """
    return _rouge("rouge1", predictions, references)


def rouge2(predictions: Sequence[Prediction], references: References) -> float:
    """Mean F-measure of shared pairs of words (rouge-score, rouge2), 0 to 1; words and references as in `rouge1`."""
    return _rouge("rouge2", predictions, references)


def rouge_l(predictions: Sequence[Prediction], references: References) -> float:
    """Mean F-measure of the longest common subsequence of words (rouge-score, rougeL), 0 to 1; rest as in `rouge1`."""
    return _rouge("rougeL", predictions, references)


class Words:
    """Splits text for rouge-score, which asks a tokenizer for this one method."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text in lower case."""
        return _WORDS.findall(text.lower())


def _corpus_score(metric: Any, predictions: Sequence[Prediction], references: References) -> float:
    if not predictions:
        return nan
    # sacrebleu wants a first reference for every row, then a second, …: None says that a row has no more.
    streams = zip_longest(*(row["texts"] or [""] for row in references))
    texts = [prediction["text"] for prediction in predictions]
    return float(metric.corpus_score(texts, [list(stream) for stream in streams]).score)


def _rouge(name: str, predictions: Sequence[Prediction], references: References) -> float:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([name], tokenizer=Words())
    rows = zip(predictions, references, strict=True)
    scores = [scorer.score_multi(right["texts"] or [""], row["text"])[name].fmeasure for row, right in rows]
    return fmean(scores) if scores else nan
