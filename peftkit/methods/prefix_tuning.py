"""Prefix tuning: trained keys and values in front of every layer's own."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from peftkit.adapters import Adapter
from peftkit.contracts import Base, MethodSettings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch.nn import Module

SEQUENCE_TO_SEQUENCE = "SEQ_2_SEQ_LM"
"""peft's word for encoder–decoders that write text: the prefix goes to the decoder's self-attention."""


class PrefixTuningSettings(MethodSettings):
    """Fields of peft's PrefixTuningConfig, under its names."""

    name: Literal["prefix-tuning"] = "prefix-tuning"
    num_virtual_tokens: Annotated[int, Field(gt=0, strict=True)] = 20
    """Prefix length; as many positions are lost to the text."""
    prefix_projection: bool = False
    """Whether the prefix comes out of a two-layer network (the paper's reparametrization)."""
    encoder_hidden_size: Annotated[int, Field(gt=0, strict=True)] | None = None
    """Width of that network."""


class PrefixTuning(Adapter):
    """Trained keys and values stand in front of those of the text in the attention of every layer. The weights of the
    base stay untouched.

    Kind: prompt
    Formula: each head attends over [P_k; K] and [P_v; V], P trained.
    Parameters: `2·num_virtual_tokens·layers·hidden` once, without prefix_projection.
    Paper: Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", arXiv:2101.00190.
    Use it: as the best of the prompt family: it works for tags, answers and generation too, leaves outputs in their
    places, and costs no more than longer keys in training.
    Not: with gradient checkpointing (refused), packed rows, DeBERTa, ModernBERT, encoder-decoder classifiers, or
    images. It cannot be merged, every attention gets num_virtual_tokens more keys when predicting, and it is slow to
    learn on language models: 15 % against LoRA's 48 % in peft's comparison, at a rate of 1e-3.
    Defaults: 20 virtual tokens and no reparametrization are our choice.
    Learning rate: classification by deep prompts wants 5e-3 to 2e-2 (P-tuning v2: Liu et al. 2022, arXiv:2110.07602).
    """

    settings_class: ClassVar[type[MethodSettings]] = PrefixTuningSettings
    learning_rate: ClassVar[float] = 1e-2
    peft_type: ClassVar[str | None] = "PREFIX_TUNING"
    checkpointable: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False  # keys and values beside the text's own are no weights of the base
    settings: PrefixTuningSettings

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        from peft import PrefixTuningConfig

        fields: dict[str, Any] = self.settings.model_dump(exclude={"name"}, exclude_none=True)
        if base.model.config.is_encoder_decoder:
            fields |= _decoder_shape(base.model.config)
        return PrefixTuningConfig(task_type=base.peft_task_type, **fields)

    def attach(self, base: Base, total_steps: int) -> Module:
        if base.model.config.is_encoder_decoder and base.peft_task_type != SEQUENCE_TO_SEQUENCE:
            kind = base.model.config.model_type
            message = f"prefix-tuning cannot be attached to a {kind} model: encoder-decoder classifiers take no prefix"
            raise UserError(message, ("method",))
        backbone = getattr(base.model, base.model.base_model_prefix, base.model)
        if not any("past_key_values" in signature(part.forward).parameters for part in (base.model, backbone)):
            kind = base.model.config.model_type
            message = (
                f"prefix-tuning cannot be attached to a {kind} model: its attention takes no outside keys and values"
            )
            raise UserError(message, ("method",))
        from peftkit.tuners.prefixed_answers import passing_all_inputs

        model: Module = passing_all_inputs(super().attach(base, total_steps))
        return model

    def load(self, base: Base, folder: Path) -> Module:
        from peftkit.tuners.prefixed_answers import passing_all_inputs

        model: Module = passing_all_inputs(super().load(base, folder))
        return model

    def virtual_tokens(self) -> int:
        return self.settings.num_virtual_tokens


def _decoder_shape(config: Any) -> dict[str, int]:
    """Layers, heads and width of a decoder's self-attention, in the words of BART's config or of T5's.

    peft would take the encoder's, and the hidden size for the width: mT5 and FLAN-T5 have heads of another.
    """
    layers = getattr(config, "num_decoder_layers", None) or config.decoder_layers
    heads = getattr(config, "decoder_attention_heads", None) or config.num_attention_heads
    width = getattr(config, "d_kv", None) or config.d_model // heads
    return {"num_layers": layers, "num_attention_heads": heads, "token_dim": heads * width}
