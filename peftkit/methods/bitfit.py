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
    """Trains every bias of the base (Ben Zaken et al. 2022, arXiv:2106.10199), kept as a LoRA adapter without layers.

    Learning rate 1e-3: the upper end of 1e-4 to 1e-3 searched in the paper's appendix.
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
