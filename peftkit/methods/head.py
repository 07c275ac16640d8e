"""Linear probe: the base stays frozen, only the new head is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from peftkit.adapters import NO_TARGETS, Adapter
from peftkit.contracts import Base, MethodSettings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig


class HeadSettings(MethodSettings):
    """The linear probe has no settings of its own."""

    name: Literal["head"] = "head"


class Head(Adapter):
    """Trains the head alone, kept as a LoRA adapter without layers so that peft loads it as any other.

    Learning rate 1e-2: a probe is a convex problem on fixed features and wants 10 to 100 times the rate of
    fine-tuning (Kumar et al. 2022, arXiv:2202.10054, linear probing).
    """

    settings_class: ClassVar[type[MethodSettings]] = HeadSettings
    learning_rate: ClassVar[float] = 1e-2
    identity_at_start: ClassVar[bool] = True

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        from peft import LoraConfig

        if not base.head:
            raise UserError(
                "method head: this task adds no head to the model, so there is nothing to train", ("method",)
            )
        return LoraConfig(target_modules=NO_TARGETS)
