"""Full fine-tuning: every weight is trained; the baseline of every comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftkit.contracts import Base, Method, MethodSettings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from torch.nn import Module


class FullSettings(MethodSettings):
    """Full fine-tuning has no settings of its own."""

    name: Literal["full"] = "full"


class Full(Method):
    """Every weight is trained, in float32. It is the baseline that every other method is held against.

    Kind: baseline
    Formula: W' = W + ΔW, ΔW free.
    Parameters: all of the model's.
    Paper: Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    arXiv:1810.04805.
    Use it: when memory allows, rows are many and one copy of the model for each task is no burden; always once, to know
    what a small adapter gives up.
    Not: on a quantized base (refused), with few rows, or where what the base knows must stay: nothing holds it there.
    Gradients and AdamW's moments take three times the weights' memory on top; in peft's comparison on Llama 3.2 3B it
    has a third of LoRA's tokens a second and 1.7 times its peak memory, at the same accuracy.
    Defaults: none to set.
    Learning rate: the upper end of 2e-5 to 5e-5 in the paper's A.3, and the default of transformers' TrainingArguments.
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
        from safetensors import SafetensorError

        attention = base.model.config._attn_implementation
        try:
            model, info = type(base.model).from_pretrained(
                str(folder), dtype=torch.float32, attn_implementation=attention, output_loading_info=True
            )
        except (OSError, SafetensorError) as error:
            raise UserError(f"{folder}: the model cannot be read, its file is damaged or cut off: {error}") from None
        if missing := sorted(info["missing_keys"]):  # transformers would draw them anew
            raise UserError(f"{folder}: truncated: {len(missing)} tensors of the model are missing, e.g. {missing[0]}")
        trained: Module = model
        return trained
