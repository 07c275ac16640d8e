"""What the methods share that put virtual tokens before the text's own."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.adapters.passthrough import Passthrough
from peftkit.contracts import Base
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig

WRITING = ("CAUSAL_LM", "SEQ_2_SEQ_LM")
"""peft's words for the tasks of language models, whose losses here count from the end of the sequence."""


class Prompts(Passthrough, ABC):
    """Virtual tokens in the input: for language models, and for encoders that classify a whole text.

    Refused is what peft would run and get wrong without a word: tags and answer positions that the virtual tokens
    shift, and decoders with a classification head, which look for the last token that is no padding, are given
    embeddings only, and read the padding.
    """

    mergeable: ClassVar[bool] = False  # inputs are no weights

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        if reason := _misplaced(base):
            raise UserError(
                f"{self.settings.name} cannot be attached to a {base.model.config.model_type} model for this task: "
                f"{reason}; prefix-tuning or lora would work",
                ("method",),
            )
        return super().peft_config(base, total_steps)

    def from_model(self, base: Base) -> dict[str, Any]:
        """The model's shape, which peft looks up under the names of few architectures, and peft's word for the task."""
        config = base.model.config.get_text_config()
        shape = {
            "token_dim": base.model.get_input_embeddings().weight.shape[-1],
            "num_layers": getattr(config, "num_hidden_layers", None),
            "num_attention_heads": getattr(config, "num_attention_heads", None),
        }
        return {"task_type": base.peft_task_type, **shape}

    def virtual_tokens(self) -> int:
        return int(self.settings.model_dump()["num_virtual_tokens"])


def _misplaced(base: Base) -> str | None:
    """Why virtual tokens would do harm in this model, or None."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    config = base.model.config
    if base.peft_task_type in WRITING:
        return None
    if base.peft_task_type != "SEQ_CLS":
        return "what is read at each token would be shifted by the virtual ones"
    if config.is_encoder_decoder:
        return "its head looks for the end of the text in the tokens themselves"
    if (
        config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    ):
        return "its head reads the last token, which it cannot tell from padding without the tokens themselves"
    return None
