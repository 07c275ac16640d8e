"""The rows that both sides get: drawn once, and made so that one row is one example."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer

if TYPE_CHECKING:
    from comparisons import Comparison

Row = dict[str, Any]


@dataclass(frozen=True)
class Chosen:
    """Rows of one comparison."""

    train: list[Row]
    test: list[Row]


def choose(comparison: Comparison, data: Path) -> Chosen:
    """Rows that neither side cuts nor splits; contexts of questions to learn end where `max_length` is full.

    Test rows of a class that the training rows lack are left out, as are answers whose place in the context is a guess.
    """
    tokenizer = AutoTokenizer.from_pretrained(comparison.settings.model)
    limit = comparison.settings.max_length
    chosen: dict[str, list[Row]] = {}
    for split, count in (("train", comparison.train_rows), ("test", comparison.test_rows)):
        rows = read(data / comparison.data / f"{split}.jsonl.gz")
        random.Random(0).shuffle(rows)
        found: list[Row] = []
        for row in rows:
            renamed = {comparison.columns.get(column, column): cell for column, cell in row.items()}
            if comparison.unpadded and split == "train":
                ready = cut_to(renamed, tokenizer, limit)
            else:
                ready = renamed if fits(renamed, tokenizer, limit, whole=split == "train") else None
            if ready is not None and (split == "train" or known(ready, chosen["train"])):
                found.append(ready)
            if len(found) == count:
                break
        chosen[split] = found
    return Chosen(**chosen)


def read(file: Path) -> list[Row]:
    """The rows of a compressed file of JSON lines."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def known(row: Row, train: Sequence[Row]) -> bool:
    """Whether the row's class, if it has one, is among the training rows."""
    return "label" not in row or any(row["label"] == other["label"] for other in train)


def fits(row: Row, tokenizer: Any, limit: int, whole: bool) -> bool:
    """Whether nothing of the row would be cut; contexts need not be `whole` to be scored: they go in windows."""
    if "context" in row and not (row["start_exact"] and whole):
        return bool(row["start_exact"])
    if "context" in row:
        ids = tokenizer(row["question"].lstrip(), row["context"])["input_ids"]
    elif "tokens" in row:
        ids = tokenizer(row["tokens"], is_split_into_words=True)["input_ids"]
    elif "completion" in row:
        ids = tokenizer(row["prompt"] + "\n" + row["completion"])["input_ids"] + [0, 0]  # eos, and a token of leeway
    else:
        ids = tokenizer(row["text"], row.get("text_pair"))["input_ids"]
    return len(ids) <= limit


def cut_to(row: Row, tokenizer: Any, length: int) -> Row | None:
    """The row with its context cut so that question and context are `length` tokens; None where that cannot be.

    transformers' loss of question answering counts padding among the places of an answer, peftkit's does not (see
    README.md): where nothing is padded they are the same.
    """
    if not row["start_exact"]:
        return None
    pair = row["question"].lstrip(), row["context"]
    encoded = tokenizer(*pair, truncation="only_second", max_length=length, return_offsets_mapping=True)
    end = max(offset[1] for offset, part in zip(encoded["offset_mapping"], encoded.sequence_ids(), strict=True) if part)
    context = row["context"][:end]
    text, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
    if not context.startswith(text, start) or len(tokenizer(pair[0], context)["input_ids"]) != length:
        return None
    return {**row, "context": context, "answers": {"text": [text], "answer_start": [start]}}
