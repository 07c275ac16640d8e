"""Entities: seqeval's own examples, schemes, and the strict IOB2 rule written out a second time."""

from __future__ import annotations

import random
import warnings

import pytest

from peftkit.errors import UserError
from peftkit.metrics import METRICS
from peftkit.metrics.token_classification import per_type


def scores(predicted: list[str], references: list[str]) -> tuple[float, ...]:
    """Precision, recall, F1 and token accuracy of rows of tags, each row a string with blanks."""
    names = ("entity_precision", "entity_recall", "entity_f1", "token_accuracy")
    predictions = [{"tags": row.split()} for row in predicted]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return tuple(METRICS[name].compute(predictions, [row.split() for row in references]) for name in names)


# seqeval's README: 1 of 2 entities is right, MISC has a wrong start; f1_score 0.50
README = ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"], ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"]


def test_the_example_of_seqeval() -> None:
    references, predicted = README
    assert scores(predicted, references) == pytest.approx((0.5, 0.5, 0.5, 8 / 10))
    # README, classification_report: MISC 0 0 0 1 and PER 1 1 1 1
    assert per_type([{"tags": row.split()} for row in predicted], [row.split() for row in references]) == {
        "MISC": {"precision": 0, "recall": 0, "f1": 0, "support": 1},
        "PER": {"precision": 1, "recall": 1, "f1": 1, "support": 1},
    }


def test_strict_wants_a_start() -> None:
    # seqeval's README, "strict mode": the default mode takes I-NP I-NP O for the entity B-NP I-NP O, strict does not
    assert scores(["I-NP I-NP O"], ["B-NP I-NP O"]) == (0, 0, 0, pytest.approx(2 / 3))


def test_all_outside_scores_0_and_its_accuracy_shows_why_it_is_no_f1() -> None:
    assert scores(["O O O O O O O O O O"], ["B-PER O O O O O O O O O"]) == (0, 0, 0, 0.9)


def test_no_entity_anywhere_scores_0() -> None:
    assert scores(["O O"], ["O O"]) == (0, 0, 0, 1)
    assert per_type([{"tags": ["O"]}], [["O"]]) == {}


def test_precision_and_recall_are_not_mixed_up() -> None:
    assert scores(["B-X O B-X", "O"], ["B-X B-Y B-X", "B-Y"])[:3] == pytest.approx((1, 1 / 2, 2 / 3))


def test_types_with_a_point_or_a_hyphen() -> None:
    assert scores(["B-PER.NAM I-PER.NAM O B-a-b"], ["B-PER.NAM I-PER.NAM O B-a-b"]) == (1, 1, 1, 1)
    tags = ["B-PER.NAM", "I-PER.NAM", "O", "B-a-b"]
    assert list(per_type([{"tags": tags}], [tags])) == ["PER.NAM", "a-b"]


@pytest.mark.parametrize("start, end, single", ["BES", "BLU"])
def test_schemes_that_mark_the_end(start: str, end: str, single: str) -> None:
    right = f"{start}-X I-X {end}-X {single}-Y O"
    assert scores([right], [right])[:3] == (1, 1, 1)
    # Without its end the first is no entity in this scheme; in IOB2 it would be one.
    assert scores([f"{start}-X I-X I-X {single}-Y O"], [right])[:3] == pytest.approx((1, 1 / 2, 2 / 3))
    # The end alone shows the scheme: a start without one is no entity.
    assert scores([f"{start}-X {end}-X {start}-Y"], [f"{start}-X {end}-X O"])[:3] == (1, 1, 1)
    # References that do not show the scheme: the predictions do.
    assert scores([right], ["O O O O O"])[:3] == (0, 0, 0)


def test_tags_that_are_no_entities_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"got 'NOUN'; token_accuracy takes any"):
        scores(["NOUN O"], ["NOUN VERB"])
    compute = METRICS["token_accuracy"].compute
    assert compute([{"tags": ["NOUN", "O"]}], [["NOUN", "VERB"]]) == 0.5


def entities(rows: list[list[str]]) -> set[tuple[int, int, int, str]]:
    """Row, start, end and type of every entity by the rule of IOB2: a B- and the I- of its type that follow it."""
    found = set()
    for number, tags in enumerate(rows):
        for start, tag in enumerate(tags):
            if tag.startswith("B-"):
                end = start + 1
                while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                    end += 1
                found.add((number, start, end, tag[2:]))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_scores_follow_the_definition_on_random_tags(seed: int) -> None:
    draw = random.Random(seed)
    tags = ["O", "O", "B-X", "I-X", "B-Y", "I-Y"]
    references = [draw.choices(tags, k=draw.randint(0, 9)) for _ in range(30)]
    predicted = [[draw.choice([tag, tag, draw.choice(tags)]) for tag in row] for row in references]
    found, there = entities(predicted), entities(references)
    hits = len(found & there)
    expected = (hits / len(found), hits / len(there), 2 * hits / (len(found) + len(there)))
    assert scores([" ".join(row) for row in predicted], [" ".join(row) for row in references])[:3] == pytest.approx(
        expected
    )
