"""Text that a model writes: the settings, the call, and what is read of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from peftkit.contracts import Settings

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

Positive = Annotated[int, Field(gt=0, strict=True)]


class GenerationSettings(Settings):
    """How text is written; names and meanings are those of transformers' GenerationConfig."""

    max_new_tokens: Positive = 64
    """Tokens written at most."""
    num_beams: Positive = 1
    """Beams; 1 takes the likeliest token each time."""
    do_sample: bool = False
    """Whether tokens are drawn; with the same seed for every evaluation, so that scores can be repeated."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Divides the logits, where tokens are drawn."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draws from the likeliest tokens that make up this share."""
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    """Divides the scores of tokens that are there already."""
    no_repeat_ngram_size: Annotated[int, Field(ge=0, strict=True)] = 0
    """Runs of this many tokens are not written twice; 0 for no such rule."""
    length_penalty: float = 1.0
    """Power of the length that a beam's score is divided by."""


def generated(
    model: Any,
    inputs: Mapping[str, Tensor],
    settings: GenerationSettings,
    tokenizer: PreTrainedTokenizerBase,
    stop: Sequence[int] = (),
) -> list[str]:
    """What `model` writes after each row of `inputs`, without special tokens.

    A decoder's inputs must be padded at the left (`left_padded`); what it repeats of them is not part of the text.
    `stop` are tokens that end a text besides those that the model's own generation settings name.
    """
    import torch

    fields = settings.model_dump()
    if settings.do_sample:
        fields["top_k"] = 0  # transformers would draw from the likeliest 50, or as many as the base asks for
    else:
        del fields["temperature"], fields["top_p"]
    if stop:
        own = model.generation_config.eos_token_id
        fields["eos_token_id"] = list(dict.fromkeys([*([own] if isinstance(own, int) else own or ()), *stop]))
    with torch.random.fork_rng(enabled=settings.do_sample):
        if settings.do_sample:
            torch.manual_seed(0)
        written = model.generate(**inputs, **fields, pad_token_id=tokenizer.pad_token_id)
    start = 0 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    texts: list[str] = tokenizer.batch_decode(written[:, start:], skip_special_tokens=True)
    return texts


def left_padded(prompts: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, device: Any) -> dict[str, Tensor]:
    """Token ids as ``input_ids`` and ``attention_mask`` of ``(rows, tokens)``, every row ending at the last place."""
    padded = tokenizer.pad({"input_ids": list(map(list, prompts))}, padding_side="left", return_tensors="pt")
    return {name: padded[name].to(device) for name in ("input_ids", "attention_mask")}
