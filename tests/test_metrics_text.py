"""Answers and generated texts: small cases worked out by hand from the definitions."""

from __future__ import annotations

from math import exp
from typing import Any

import pytest

from peftkit.metrics import METRICS


def answers(metric: str, predicted: list[str], references: list[list[str]]) -> float:
    return METRICS[metric].compute([{"answer": answer} for answer in predicted], references)


def texts(metric: str, predicted: list[str], *references: list[str]) -> float:
    """The score of generated texts, each with its list of references."""
    return METRICS[metric].compute([{"text": text} for text in predicted], [{"texts": row} for row in references])


# --- SQuAD: normalization is lower case, without punctuation, articles and superfluous blanks -------------------------


@pytest.mark.parametrize(
    "given, right, exact, f1",
    [
        ("The  Eiffel Tower!", ["eiffel tower"], 1, 1),
        ("in the Eiffel Tower", ["Eiffel Tower"], 0, 4 / 5),  # in eiffel tower: 2 in common of 3 and of 2
        ("tower tower", ["tower"], 0, 2 / 3),  # a bag: one in common of 2 and of 1
        ("Bell", ["Alexander Graham Bell", "Bell"], 1, 1),  # the best of the acceptable ones
        ("U.S.", ["us"], 1, 1),
        ("theatre", ["atre"], 0, 0),  # an article is a word
        ("", ["Paris"], 0, 0),
        ("", [], 1, 1),  # no answer, none given
        ("Paris", [], 0, 0),
        ("the", [], 1, 1),  # nothing is left of it
        ("", ["a"], 1, 1),  # as in the script: an acceptable answer that normalization empties is none
        ("中国北京", ["北京"], 0, 0),  # SQuAD's words are split at blanks
    ],
)
def test_squad(given: str, right: list[str], exact: float, f1: float) -> None:
    assert answers("squad_exact_match", [given], [right]) == exact
    assert answers("squad_f1", [given], [right]) == pytest.approx(f1)


def test_squad_apart_for_questions_with_and_without_an_answer() -> None:
    predicted, references = ["red car", "", "x", "blue"], [["car"], [], [], ["blue"]]
    assert answers("squad_has_answer_f1", predicted, references) == pytest.approx((2 / 3 + 1) / 2)
    assert answers("squad_no_answer_accuracy", predicted, references) == 1 / 2
    assert answers("squad_f1", predicted, references) == pytest.approx((2 / 3 + 1 + 0 + 1) / 4)
    assert str(answers("squad_no_answer_accuracy", ["a car"], [["car"]])) == "nan"
    assert str(answers("squad_has_answer_f1", [""], [[]])) == "nan"


# --- CMRC 2018: Chinese characters one by one, Chinese punctuation removed, longest common run ------------------------


@pytest.mark.parametrize(
    "given, right, exact, f1",
    [
        ("《红楼梦》。", ["红楼梦"], 1, 1),
        ("中国北京", ["北京"], 0, 2 * 2 / (4 + 2)),
        ("北京", ["上海", "北京市"], 0, 2 * 2 / (2 + 3)),
        # 甲乙 and 丙 are in common; the longest run of segments is 2 (the longest subsequence would be 3): 4/7
        ("甲乙丙", ["甲乙丁丙"], 0, 2 * 2 / (3 + 4)),
        ("iPhone 手机", ["IPHONE手机"], 0, 1),  # a word and two characters; the blank counts for EM, as in the script
        ("3.5%股份", ["3.5 % 股份"], 0, 1),  # NLTK splits the sign off
        ("a-b", ["ab"], 1, 1),
        ("a.b", ["ab"], 0, 0),  # the full stop of ASCII is not in the script's list
        ("", ["北京"], 0, 0),
        ("", [], 1, 1),
        ("北京", [], 0, 0),
    ],
)
def test_cmrc(given: str, right: list[str], exact: float, f1: float) -> None:
    assert answers("cmrc_exact_match", [given], [right]) == exact
    assert answers("cmrc_f1", [given], [right]) == pytest.approx(f1)


# --- generated text ---------------------------------------------------------------------------------------------------


def test_exact_match_and_invalid_share() -> None:
    references: list[Any] = [{"extracted": ["4", "four"]}, {"extracted": ["5"]}, {"extracted": [None]}]
    found = [{"extracted": "four"}, {"extracted": "4"}, {"extracted": None}]
    assert METRICS["exact_match"].compute(found, references) == pytest.approx(1 / 3)
    assert METRICS["invalid_share"].compute([{"valid": True}, {"valid": False}], ["a", "b"]) == 1 / 2


def test_bleu_by_hand() -> None:
    # a b c d e against a b c d f: 4/5 words, 3/4 pairs, 2/3 triples, 1/2 fours, same length
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert texts("bleu", ["a b c d e"], ["a b c d f"]) == pytest.approx(expected)
    # all n-grams right, 4 words for 5: the brevity penalty e^(1 - 5/4)
    assert texts("bleu", ["a b c d"], ["a b c d e"]) == pytest.approx(100 * exp(1 - 5 / 4))


def test_bleu_and_chrf_take_any_number_of_references_by_row() -> None:
    hypotheses = ["a b c d e", "the dog ran off home"]
    several = (["x y", "a b c d e"], ["the dog ran off home"])
    for metric in ("bleu", "chrf"):
        assert texts(metric, hypotheses, *several) == pytest.approx(100)
        assert texts(metric, hypotheses, ["x y"], ["the dog ran off home"]) < 99
        assert 0 <= texts(metric, hypotheses, [], [""]) < 1  # no reference, an empty one


def test_the_example_of_sacrebleu() -> None:
    # sacrebleu's README, "Using SacreBLEU from Python": BLEU = 48.53, chrF2 = 59.73
    references = (
        ["The dog bit the man.", "The dog had bit the man."],
        ["It was not unexpected.", "No one was surprised."],
        ["The man bit him first.", "The man had bitten the dog."],
    )
    hypotheses = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    assert texts("bleu", hypotheses, *references) == pytest.approx(48.53, abs=0.005)
    assert texts("chrf", hypotheses, *references) == pytest.approx(59.73, abs=0.005)


def test_bleu_of_chinese_compares_characters() -> None:
    # 5 characters, the last one wrong: as in the case by hand above; `13a` would see one wrong word
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert texts("bleu", ["我很喜欢猫"], ["我很喜欢狗"]) == pytest.approx(expected)


def test_rouge_by_hand() -> None:
    # The pair of texts in rouge-score's README: 9 and 8 words, in common the(2) quick brown dog jumps = 6: F1 12/17;
    # pairs 8 and 7, in common "the quick" and "quick brown": 4/15; longest subsequence the quick brown jumps the: 10/17
    pair = ["The quick brown dog jumps on the log."], ["The quick brown fox jumps over the lazy dog"]
    found = [texts(metric, *pair) for metric in ("rouge1", "rouge2", "rougeL")]
    assert found == pytest.approx([12 / 17, 4 / 15, 10 / 17])


def test_rouge_takes_the_best_reference_of_each_row_and_means_over_rows() -> None:
    assert texts("rouge1", ["a b", "c d"], ["x", "a b"], ["c e"]) == pytest.approx((1 + 1 / 2) / 2)
    assert texts("rougeL", ["a"], []) == texts("rougeL", [""], ["a"]) == 0


@pytest.mark.parametrize("text", ["Don't stop, it's 5.5%!", "naïve café A_B", "re-use  x\ty", ""])
def test_latin_text_is_split_as_rouge_score_does(text: str) -> None:
    from rouge_score.tokenizers import DefaultTokenizer

    from peftkit.metrics.overlap import Words

    assert Words().tokenize(text) == DefaultTokenizer().tokenize(text)


def test_rouge_of_other_scripts_is_not_0() -> None:
    assert texts("rouge1", ["我喜欢猫"], ["我喜欢狗"]) == pytest.approx(3 / 4)
    assert texts("rouge2", ["我喜欢猫"], ["我喜欢狗"]) == pytest.approx(2 / 3)
    assert texts("rouge1", ["Кошка спит"], ["кошка ест"]) == pytest.approx(1 / 2)
    assert texts("rougeL", ["AI模型"], ["ai 模型"]) == 1
