"""BitFit: only the bias terms and the head are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from peftkit.adapters import NO_TARGETS, Adapter
from peftkit.contracts import Base, MethodSettings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig


class BitfitSettings(MethodSettings):
    """BitFit has no settings of its own."""

    name: Literal["bitfit"] = "bitfit"


class Bitfit(Adapter):
    """Only the bias terms of the base are trained. They are kept as a LoRA adapter without layers.

    Kind: selective
    Formula: y = W·x + b', b' trained.
    Parameters: `out` a linear layer, `hidden` a LayerNorm; each has a bias of that size.
    Paper: Ben Zaken et al. 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
    Language-models", arXiv:2106.10199.
    Use it: on BERT-like encoders with small to medium data, where a tenth of a percent of the weights is enough.
    Not: on Llama, Qwen or T5, whose layers have no biases (refused), in half precision (the biases are the base's own
    and would be rounded at every step), or on large data: the paper finds it behind other sparse methods there.
    Defaults: none to set.
    Learning rate: the upper end of 1e-4 to 1e-3, searched in the paper's appendix.
    """

    settings_class: ClassVar[type[MethodSettings]] = BitfitSettings
    learning_rate: ClassVar[float] = 1e-3
    identity_at_start: ClassVar[bool] = True
    half_precision: ClassVar[bool] = False  # the biases are the base's own and would be rounded at every step

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        from peft import LoraConfig

        if not any(name.endswith(".bias") for name, _ in base.model.named_parameters()):
            kind = base.model.config.model_type
            raise UserError(f"method bitfit: a {kind} model has no biases to train; use lora instead", ("method",))
        return LoraConfig(target_modules=NO_TARGETS, bias="all")
