"""Prompt tuning: trained embeddings before the text's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from peftkit.adapters import Prompts
from peftkit.contracts import Base
from peftkit.errors import UserError


class PromptTuning(Prompts):
    """Trained embeddings of virtual tokens stand before the text's own. Nothing inside the model is touched.

    Kind: prompt
    Formula: the model reads [P; E(x)], P trained.
    Parameters: `num_virtual_tokens·hidden` once.
    Paper: Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", arXiv:2104.08691.
    Use it: on large language models with many tasks on one base: the paper finds it level with full fine-tuning at ten
    billion parameters, and rows of different tasks can share a batch.
    Not: on small models (`prefix-tuning` or `lora` learn faster; 25 % against LoRA's 48 % in peft's comparison), for
    tags or answer positions, which the virtual tokens shift, or on decoders with a classification head (both refused).
    Virtual tokens take positions of the text. On an encoder with a classification head the head reads the first
    position, which is then the first virtual token and no longer [CLS]: allowed, and another model than the base.
    Defaults: 20 virtual tokens (the paper finds little gain beyond), embeddings of sampled words at the start (better
    than random, it says); `prompt_tuning_init: TEXT` starts from `prompt_tuning_init_text`.
    Learning rate: peft's example on GLUE (examples/sequence_classification/Prompt_Tuning.ipynb).
    """

    name: ClassVar[str] = "prompt-tuning"
    peft_type: ClassVar[str | None] = "PROMPT_TUNING"
    learning_rate: ClassVar[float] = 1e-3
    defaults: ClassVar[Mapping[str, Any]] = {"num_virtual_tokens": 20, "prompt_tuning_init": "SAMPLE_VOCAB"}

    def from_model(self, base: Base) -> dict[str, Any]:
        settings = self.settings.model_dump()
        text = settings["prompt_tuning_init_text"] is not None
        if text != (settings["prompt_tuning_init"] == "TEXT"):
            raise UserError(
                "prompt-tuning: prompt_tuning_init: TEXT and prompt_tuning_init_text go together", ("method",)
            )
        named = {"tokenizer_name_or_path": base.model.name_or_path} if text else {}
        return super().from_model(base) | named
