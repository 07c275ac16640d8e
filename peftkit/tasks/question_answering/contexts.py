"""A question and its context as windows of tokens, and which characters of the context each token stands for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Example
from peftkit.errors import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OVERLAP = 128
"""Tokens that two windows share where the recipe says nothing (Devlin et al. 2019; run_squad.py, doc_stride)."""
NOT_KEPT = ("attention_mask", "offset_mapping", "overflow_to_sample_mapping")
"""What a tokenizer gives beside the inputs, or makes again with the batch."""


def context_windows(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
    max_length: int,
    stride: int | None,
) -> list[list[Example]]:
    """The windows of each row, in the order of the context: the question whole, then a stretch of the context.

    An example has the model's inputs; ``first``, the place of the first token of the context; ``offsets``, two small
    numbers for each of the context's tokens (characters skipped since the last, characters covered; see `characters`);
    and ``null``, the place that stands for no answer: the CLS token, or the first token where the tokenizer adds none
    (transformers, examples/pytorch/question-answering/run_qa.py).

    Raises:
        RowError: a question leaves no room for its context, or a context without tokens.
    """
    special = tokenizer.num_special_tokens_to_add(pair=True)
    by_overlap: dict[int, list[int]] = {}
    for row, tokens in enumerate(tokenizer(list(questions), add_special_tokens=False)["input_ids"]):
        room = max_length - special - len(tokens)
        if room < 1:
            told = f"the question takes {len(tokens)} tokens, which leaves no room for its context: {max_length} fit"
            raise RowError(f"{told}, {special} of them special", row, ("task", "question"), "the question is too long")
        by_overlap.setdefault(overlap(stride, room), []).append(row)
    found: list[list[Example]] = [[] for _ in questions]
    for shared, rows in by_overlap.items():
        encoded = tokenizer(
            [questions[row] for row in rows],
            [contexts[row] for row in rows],
            truncation="only_second",
            max_length=max_length,
            stride=shared,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for number, owner in enumerate(encoded["overflow_to_sample_mapping"]):
            found[rows[owner]].append(_window(tokenizer, encoded, number, contexts[rows[owner]]))
    for row, windows in enumerate(found):
        if not any(width for window in windows for width in window["offsets"][1::2]):
            told = f"the tokenizer finds no token in the context {contexts[row]!r:.60}"
            raise RowError(told, row, ("task", "context"), "the tokenizer finds no token in the context")
    return found


def overlap(stride: int | None, room: int) -> int:
    """Tokens that two windows share, where each holds `room` tokens of the context.

    What is asked if it fits; else, and by default, `OVERLAP`, but at most half of the room: with more, a long question
    would make windows that hardly move.
    """
    return stride if stride is not None and stride < room else min(OVERLAP, room // 2)


def characters(example: Example) -> tuple[list[int], list[int]]:
    """Where each token of the context begins and ends in the context; both are the same for a token of blanks."""
    edges = list(accumulate(example["offsets"]))
    return edges[::2], edges[1::2]


def place_of(example: Example, start: int, end: int) -> tuple[int, int] | None:
    """The places of the first and last token of the characters from `start` to `end`; None if some lie outside."""
    starts, ends = characters(example)
    solid = [token for token in range(len(starts)) if starts[token] < ends[token]]
    inside = [token for token in solid if starts[token] < end and ends[token] > start]
    if not inside or starts[solid[0]] > start or ends[solid[-1]] < end:
        return None
    return example["first"] + inside[0], example["first"] + inside[-1]


def _window(tokenizer: PreTrainedTokenizerBase, encoded: Any, number: int, context: str) -> Example:
    example = {name: values[number] for name, values in encoded.items() if name not in NOT_KEPT}
    parts = encoded.sequence_ids(number)
    count = parts.count(1)
    first = parts.index(1) if count else len(parts)
    cls = tokenizer.cls_token_id
    special = (place for place, part in enumerate(parts) if part is None and example["input_ids"][place] == cls)
    null = next(special, 0)
    offsets = encoded["offset_mapping"][number][first : first + count]
    return {**example, "first": first, "offsets": _skips_and_widths(offsets, context), "null": null}


def _skips_and_widths(offsets: Sequence[tuple[int, int]], context: str) -> list[int]:
    """Offsets without the blanks that byte-level tokens carry, as small numbers: short on disk, shared in memory."""
    found: list[int] = []
    last = 0
    for start, end in offsets:
        while start < end and context[start].isspace():
            start += 1
        while start < end and context[end - 1].isspace():
            end -= 1
        found += (start - last, end - start)
        last = end
    return found
