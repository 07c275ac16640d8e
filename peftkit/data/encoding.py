"""Rows as token ids, held in memory, with their lengths and how many were cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Task
from peftkit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

BLOCK = 1000
"""Rows tokenized in one call."""


@dataclass(frozen=True)
class Encoded:
    """The rows of one split as model inputs."""

    features: list[dict[str, Any]]
    """Inputs by name, a row each; ``labels`` where the rows have them."""
    lengths: list[int]
    """Tokens of each row."""
    references: list[Any]
    """What each row's prediction is compared with; empty for rows without labels."""
    cut: int
    """Rows that were longer than the limit."""
    fingerprint: str
    """16 hex digits over the encoded content."""

    def __len__(self) -> int:
        return len(self.features)

    def summary(self) -> dict[str, Any]:
        """What the record says of the split."""
        return {
            "rows": len(self),
            "tokens": sum(self.lengths),
            "rows_cut": self.cut,
            "fingerprint": self.fingerprint,
        }


def encode(
    rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int, *, labelled: bool = True
) -> Encoded:
    """All of `rows`, each cut to `max_length` tokens. Raises UserError for a row that is not text."""
    features: list[dict[str, Any]] = []
    cut = 0
    for start in range(0, len(rows), BLOCK):
        block = {name: list(values) for name, values in rows[start : start + BLOCK].items()}
        try:
            encoded = task.encode(block, tokenizer, max_length)
            cut += _count_cut(block, encoded, task, tokenizer, max_length)
        except (TypeError, ValueError) as error:
            row = _first_refused(block, task, tokenizer, max_length)
            raise UserError(f"row {start + row + 1} cannot be read: {str(error).splitlines()[0]}") from None
        features += [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
    digest = hashlib.sha256(json.dumps(features, sort_keys=True).encode()).hexdigest()[:16]
    references = [task.reference(row) for row in rows] if labelled else []
    return Encoded(features, [len(row["input_ids"]) for row in features], references, cut, digest)


def _first_refused(
    block: Mapping[str, list[Any]], task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> int:
    """The first row that cannot be encoded on its own."""
    for row in range(len(next(iter(block.values())))):
        try:
            task.encode({name: values[row : row + 1] for name, values in block.items()}, tokenizer, max_length)
        except (TypeError, ValueError):
            return row
    return 0


def _count_cut(
    block: Mapping[str, list[Any]],
    encoded: Mapping[str, list[Any]],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> int:
    """Rows that fill the limit and would have been longer with one token more to spend."""
    full = [i for i, ids in enumerate(encoded["input_ids"]) if len(ids) >= max_length]
    if not full:
        return 0
    roomier = task.encode(
        {name: [values[i] for i in full] for name, values in block.items()}, tokenizer, max_length + 1
    )
    return sum(len(ids) > max_length for ids in roomier["input_ids"])
