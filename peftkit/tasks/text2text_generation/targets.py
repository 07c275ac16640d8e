"""The targets of an encoder–decoder: their tokenizer, their tokens, and how many the decoder can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peftkit.errors import Key, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TARGET_TOKENIZER: Key = ("task", "target_tokenizer")


def load_target_tokenizer(name: str | None, processor: Any, config: PreTrainedConfig) -> Any:
    """The tokenizer called `name` (a folder or a hub name), or `processor` without a name.

    Raises:
        UserError: there is none, or it has more tokens than the model can write.
    """
    from transformers import AutoTokenizer

    if name is None:
        return processor
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name}: no tokenizer can be loaded from there: {first}", TARGET_TOKENIZER) from error
    vocabulary = getattr(config, "decoder_vocab_size", None) or config.get_text_config().vocab_size
    if len(tokenizer) > vocabulary:
        told = f"{name}: has {len(tokenizer)} tokens, but the model can write {vocabulary}"
        raise UserError(told, TARGET_TOKENIZER)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def target_tokens(tokenizer: Any, targets: Sequence[str], limit: int) -> list[tuple[list[int], bool]]:
    """Each target's tokens, at most `limit` of them with the tokenizer's own, and whether that is fewer than it has."""
    roomier: list[list[int]] = _tokens(tokenizer, targets, limit + 1)
    cut = [number for number, tokens in enumerate(roomier) if len(tokens) > limit]
    if cut:  # cut by the tokenizer, which keeps its closing token
        for number, tokens in zip(cut, _tokens(tokenizer, [targets[i] for i in cut], limit), strict=True):
            roomier[number] = tokens
    were_cut = set(cut)
    return [(tokens, number in were_cut) for number, tokens in enumerate(roomier)]


def decoder_positions(config: PreTrainedConfig) -> int | None:
    """Tokens that the decoder has positions for; LED has a table of its own for it, T5 numbers distances instead."""
    names = ("max_decoder_position_embeddings", "max_position_embeddings")
    return next((found for name in names if (found := getattr(config, name, None)) is not None), None)


def _tokens(tokenizer: Any, targets: Sequence[str], limit: int) -> list[list[int]]:
    found: list[list[int]] = tokenizer(text_target=list(targets), truncation=True, max_length=limit)["input_ids"]
    return found
