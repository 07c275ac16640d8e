"""Scores of tagged tokens. A prediction carries ``tags``, its reference is the list of right tags, equally long.

The entity scores are those of seqeval in strict mode: an entity counts when its type and both its ends are right, and
tags that do not follow the scheme (an I- without its B-) make no entity, in predictions and in references alike.
The scheme is read off the tags: U- or L- says BILOU, S- or E- says IOBES, anything else is IOB2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import nan
from typing import Any

from peftkit.contracts import Prediction
from peftkit.errors import UserError

Tags = Sequence[Sequence[str]]
_TAG = re.compile(r"O|[BIESUL](-.+)?")


def entity_f1(predictions: Sequence[Prediction], references: Tags) -> float:
    """F1 of all entities together (micro; seqeval, f1_score, strict); 0 where there are none at all."""
    return float(_scores(predictions, references, "micro")[2])


def entity_precision(predictions: Sequence[Prediction], references: Tags) -> float:
    """Share of the predicted entities that are right (seqeval, precision_score, strict); 0 where none is predicted."""
    return float(_scores(predictions, references, "micro")[0])


def entity_recall(predictions: Sequence[Prediction], references: Tags) -> float:
    """Share of the references' entities that are found (seqeval, recall_score, strict); 0 where there are none."""
    return float(_scores(predictions, references, "micro")[1])


def token_accuracy(predictions: Sequence[Prediction], references: Tags) -> float:
    """Share of tokens whose tag is right (seqeval, accuracy_score). No F1: mostly O among mostly O scores high."""
    rows = zip(_tags(predictions), references, strict=True)
    hits = [tag == right for tags, right_tags in rows for tag, right in zip(tags, right_tags, strict=True)]
    return sum(hits) / len(hits) if hits else nan


def per_type(predictions: Sequence[Prediction], references: Tags) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and entities in the references (``support``) of every entity type."""
    from seqeval.scheme import Entities

    sides = (_tags(predictions), references)
    names = sorted({name for tags in sides for name in Entities(tags, _scheme(*sides)).unique_tags})
    columns = _scores(predictions, references, None)
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(names, *columns, strict=True)
    }


def _tags(predictions: Sequence[Prediction]) -> list[list[str]]:
    return [list(prediction["tags"]) for prediction in predictions]


def _scores(predictions: Sequence[Prediction], references: Tags, average: str | None) -> tuple[Any, Any, Any, Any]:
    """Precision, recall, F1 and support; arrays over the entity types in alphabetical order where `average` is None."""
    from seqeval.metrics.v1 import precision_recall_fscore_support

    found = _tags(predictions)
    scheme = _scheme(found, references)
    scores: tuple[Any, Any, Any, Any] = precision_recall_fscore_support(
        references, found, average=average, scheme=scheme, zero_division=0
    )
    return scores


def _scheme(*sides: Tags) -> Any:
    """The scheme that the tags follow; predictions are asked as well, since few references may not show it."""
    from seqeval.scheme import BILOU, IOB2, IOBES

    tags = {tag for side in sides for row in side for tag in row}
    strange = sorted(tag for tag in tags if not _TAG.fullmatch(tag))
    if strange:
        raise UserError(
            f"entity scores need tags like B-PER, I-PER and O, got {strange[0]!r}; token_accuracy takes any"
        )
    prefixes = {tag[0] for tag in tags}
    return BILOU if prefixes & {"U", "L"} else IOBES if prefixes & {"S", "E"} else IOB2
