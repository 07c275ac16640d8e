"""Prompt tuning: trained embeddings before the text's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from peftkit.adapters import Prompts
from peftkit.contracts import Base
from peftkit.errors import UserError


class PromptTuning(Prompts):
    """The model reads [P; E(x)], P the embeddings of virtual tokens (Lester et al. 2021, arXiv:2104.08691, section
    2).

    Shines on large language models; `prefix-tuning` learns faster on small ones. Virtual tokens take positions of the
    text. On an encoder with a classification head the head reads the first position, which is then the first virtual
    token and no longer [CLS]: allowed, and another model than the base. `prompt_tuning_init: TEXT` starts from
    `prompt_tuning_init_text`. Defaults: 20 virtual tokens (the paper's figure 3a: little gain beyond), embeddings of
    sampled words at the start (section 3.2: better than random). Learning rate 1e-3: peft's example on GLUE
    (examples/sequence_classification/Prompt_Tuning.ipynb).
    Parameters: num_virtual_tokens·hidden, once.
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
