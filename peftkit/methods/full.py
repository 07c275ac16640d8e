"""Full fine-tuning: every weight is trained; the baseline of every comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftkit.contracts import Base, Method, MethodSettings

if TYPE_CHECKING:
    from torch.nn import Module


class FullSettings(MethodSettings):
    """Full fine-tuning has no settings of its own."""

    name: Literal["full"] = "full"


class Full(Method):
    """Trains all weights, in float32.

    Learning rate 5e-5: the upper end of 2e-5 to 5e-5 of Devlin et al. 2019 (arXiv:1810.04805, A.3), and the default of
    transformers' TrainingArguments.
    """

    settings_class: ClassVar[type[MethodSettings]] = FullSettings
    learning_rate: ClassVar[float] = 5e-5
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False

    def attach(self, base: Base, total_steps: int) -> Module:
        base.model.requires_grad_(True)
        model: Module = base.model
        return model

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(str(folder))

    def load(self, base: Base, folder: Path) -> Module:
        import torch

        attention = base.model.config._attn_implementation
        model: Module = type(base.model).from_pretrained(
            str(folder), dtype=torch.float32, attn_implementation=attention
        )
        return model
