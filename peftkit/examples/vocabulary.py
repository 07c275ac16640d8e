"""Tokens that a tokenizer makes and the model has no embedding for: added to the one and not to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Example
from peftkit.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

RESIZE = (
    "for which the model's embedding has no row: resize the model once (resize_token_embeddings, then save_pretrained) "
    "and train that, or use the tokenizer that belongs to it"
)
"""What is wrong with such a token, and what to do about it."""


def tokens_beyond(tokenizer: Any, config: PreTrainedConfig) -> dict[int, str]:
    """Tokens by number for which the model's embedding has no row; none with nearly every model.

    Some published models have one that no text holds, so that a row that does is refused and not the model.

    Raises:
        UserError: the token that pads is one of them.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if rows is None or len(tokenizer) <= rows:
        return {}
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if tokenizer.pad_token_id in beyond:
        told = f"the tokenizer pads with {tokenizer.pad_token!r}, token {tokenizer.pad_token_id}, {RESIZE}"
        raise UserError(told, ("model", "name"))
    return beyond


def found_beyond(examples: Iterable[Example], beyond: Mapping[int, str], labels: bool) -> int | None:
    """The first of the tokens `beyond` in `examples`; `labels` is whether their labels are tokens too."""
    names = ("input_ids", "labels") if labels else ("input_ids",)
    tokens = (token for example in examples for name in names for token in _flat(example.get(name, [])))
    return next((token for token in tokens if token in beyond), None)


def _flat(tokens: Iterable[Any]) -> Iterator[Any]:
    """Tokens of one text, or of each of several."""
    for token in tokens:
        yield from token if isinstance(token, list) else (token,)
