"""Trainable tokens: the embeddings of a few chosen tokens, and nothing else of the base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from peftkit.adapters import NO_TARGETS, Adapter
from peftkit.contracts import Base, MethodSettings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig


class TrainableTokensSettings(MethodSettings):
    """Fields of peft's TrainableTokensConfig, under its names."""

    name: Literal["trainable-tokens"] = "trainable-tokens"
    token_indices: Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]
    """Numbers of the tokens in the model's vocabulary, from 0."""


class TrainableTokens(Adapter):
    """The embeddings of a few chosen tokens are trained, and nothing else of the base. Other rows of the embedding
    matrix stay as they are.

    Kind: selective
    Formula: E'[t] = e_t for the chosen tokens t, E'[t] = E[t] for all others; e_t begins as E[t].
    Parameters: `hidden·tokens` once.
    Paper: none; peft's documentation, "Trainable Tokens".
    Use it: for tokens that the base has never seen in its training: markers of a format, new words.
    Not: for tokens that the training rows do not hold, which get no gradient; or alone where the task needs more than
    new words. Where output weights are tied to the embeddings they move too.
    Defaults: none, the tokens have to be given. It is kept as a LoRA adapter without layers
    (`trainable_token_indices`): peft's own adapter of this name leaves the task's head out.
    Learning rate: our choice, that of `prompt-tuning`, which trains vectors of the same kind.
    """

    settings_class: ClassVar[type[MethodSettings]] = TrainableTokensSettings
    learning_rate: ClassVar[float] = 1e-3
    identity_at_start: ClassVar[bool] = True
    settings: TrainableTokensSettings

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        from peft import LoraConfig

        tokens, known = self.settings.token_indices, len(base.model.get_input_embeddings().weight)
        key = ("method", "token_indices")
        if len({*tokens}) < len(tokens):
            twice = next(token for token in tokens if tokens.count(token) > 1)
            raise UserError(f"token {twice} is given twice; give each once", key)
        if max(tokens) >= known:
            raise UserError(f"there is no token {max(tokens)}: the model has {known}, 0 to {known - 1}", key)
        return LoraConfig(target_modules=NO_TARGETS, trainable_token_indices=list(tokens))
