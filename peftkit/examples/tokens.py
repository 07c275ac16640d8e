"""Text as token ids, cut to a limit and counted; token ids as padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peftkit.contracts import IGNORED, Batch, Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MADE_WHEN_PADDED = ("attention_mask",)
"""Inputs that follow from the lengths; they are made with the batch and not kept."""


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Any], pairs: Sequence[Any] | None, max_length: int
) -> list[Example]:
    """An example a text, or a pair of texts; ``cut`` in those that were longer than `max_length` tokens."""
    examples = _encoded(tokenizer, texts, pairs, max_length)
    full = [number for number, example in enumerate(examples) if len(example["input_ids"]) >= max_length]
    if full:  # one token more to spend tells those that were cut from those that just fit
        roomier = _encoded(
            tokenizer, [texts[i] for i in full], [pairs[i] for i in full] if pairs else None, max_length + 1
        )
        for number, longer in zip(full, roomier, strict=True):
            if len(longer["input_ids"]) > max_length:
                examples[number]["cut"] = True
    return examples


def collate_tokens(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Batch:
    """Examples as tensors of ``(examples, tokens)``, padded at the right to the longest; lists of labels get -100."""
    import torch

    names = set(tokenizer.model_input_names)
    rows = [{name: value for name, value in example.items() if name in names} for example in examples]
    inputs = dict(tokenizer.pad(rows, padding=True, padding_side="right", return_tensors="pt"))
    labels = None
    if "labels" in examples[0]:
        values = [example["labels"] for example in examples]
        if isinstance(values[0], list):
            longest = max(map(len, values))
            values = [value + [IGNORED] * (longest - len(value)) for value in values]
        labels = torch.tensor(values)
    return Batch(inputs, labels, examples, padded_tokens=inputs["input_ids"].numel())


def _encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Any], pairs: Sequence[Any] | None, max_length: int
) -> list[Example]:
    both = [list(texts), list(pairs)] if pairs else [list(texts)]
    found = tokenizer(*both, truncation=True, max_length=max_length)
    kept = {name: values for name, values in found.items() if name not in MADE_WHEN_PADDED}
    return [dict(zip(kept, values, strict=True)) for values in zip(*kept.values(), strict=True)]
