"""How likely a language model finds the tokens that have labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftkit.contracts import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the natural log-likelihood of every labelled token given those before it, in float32.

    `logits` are ``(examples, tokens, vocabulary)``, `labels` ``(examples, tokens)`` with -100 where no token is asked
    for; the logits at a place speak of the next one. Returns ``(examples, tokens - 1)``, 0 where there is no label.
    """
    from torch.nn.functional import cross_entropy

    asked = labels[:, 1:] != IGNORED  # the rest needs no copy in float32, and no softmax over the vocabulary
    found = cross_entropy(logits[:, :-1][asked].float(), labels[:, 1:][asked], reduction="none")
    return found.new_zeros(asked.shape).masked_scatter(asked, found)


def given_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """`next_token_loss` of the tokens that have a place in `labels`; methods may put virtual ones before them."""
    return next_token_loss(logits[:, -labels.shape[1] :], labels)
