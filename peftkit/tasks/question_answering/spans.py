"""Answers as spans of tokens: the best of a window, the best of a row, and when there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int, float]
"""Where it begins, where it ends, and its score: the sum of the two logits."""


def best_spans(start: Tensor, end: Tensor, allowed: Tensor, longest: int, count: int) -> list[list[Span]]:
    """The `count` best spans of each example by ``start[i] + end[j]``, ``i <= j < i + longest``, best first.

    `start` and `end` are logits of ``(examples, tokens)``, `allowed` tells of each token whether a span may begin or
    end there. Exact: all pairs are compared, ``examples × tokens × longest`` sums at once. Places are of tokens, both
    inclusive.
    """
    from torch.nn.functional import pad

    start, end = (logits.float().masked_fill(~allowed, -math.inf) for logits in (start, end))
    longest = min(longest, start.shape[1])
    ends = pad(end, (0, longest - 1), value=-math.inf).unfold(1, longest, 1)
    sums = (start.unsqueeze(-1) + ends).flatten(1)
    best = sums.topk(min(count, sums.shape[1]))
    return [
        [
            (place // longest, place // longest + place % longest, score)
            for place, score in zip(places, scores, strict=True)
            if score != -math.inf
        ]
        for places, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def merged(windows: Iterable[Iterable[Sequence[Any]]], count: int) -> list[Span]:
    """The `count` best of all windows' spans, in characters; one that several windows hold counts by its best score."""
    best: dict[tuple[int, int], float] = {}
    for spans in windows:
        for start, end, score in spans:
            best[start, end] = max(score, best.get((start, end), -math.inf))
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return [(start, end, score) for (start, end), score in ranked[:count]]


def softmax(scores: Sequence[float]) -> list[float]:
    """Shares that sum to 1, as ``exp(score)`` are to each other."""
    most = max(scores)
    parts = [math.exp(score - most) for score in scores]
    return [part / sum(parts) for part in parts]


def best_null_threshold(margins: Sequence[float], answered: Sequence[float], silent: Sequence[float]) -> float:
    """The threshold that makes the sum of the rows' scores largest when rows with a greater margin get an answer.

    A row scores `answered` with an answer and `silent` without one. Between two margins the threshold lies halfway; one
    beyond the outermost where all rows, or none, are best answered. Among equals it is the one nearest to 0. Exact, as
    find_all_best_thresh in the SQuAD 2.0 evaluation script.
    """
    order = sorted(range(len(margins)), key=lambda row: -margins[row])
    ranked = [margins[row] for row in order]
    bounds = [ranked[0] + 1, *((ranked[i - 1] + ranked[i]) / 2 for i in range(1, len(ranked))), ranked[-1] - 1]
    total = math.fsum(silent)
    choices = [(total, bounds[0])]
    for number, row in enumerate(order, 1):
        total += answered[row] - silent[row]
        if number == len(order) or ranked[number] < ranked[number - 1]:
            choices.append((total, bounds[number]))
    return max(choices, key=lambda choice: (round(choice[0], 6), -abs(choice[1])))[1]
