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
    """The base stays as it is and only the new head is trained (a linear probe). It is kept as a LoRA adapter without
    layers, so that peft loads it as any other.

    Kind: baseline
    Formula: y = W_head·h(x) + b_head, h the frozen base.
    Parameters: none but those of the head.
    Paper: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
    arXiv:2202.10054.
    Use it: as the lower bound that an adapter must beat, with very few rows, or on data unlike the training rows; it is
    the cheapest of all, since no gradient enters the base.
    Not: for tasks without a new head, such as language modelling (refused), or where the base's features do not yet
    hold the answer.
    Defaults: none to set.
    Learning rate: our choice: a probe is a convex problem on fixed features and bears 10 to 100 times the rate of
    fine-tuning.
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
