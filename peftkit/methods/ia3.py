"""(IA)³: attention's keys and values and the feed-forward's inner activations are rescaled."""

from __future__ import annotations

from typing import Any, ClassVar

from peftkit.adapters import ALL_LINEAR, Passthrough
from peftkit.contracts import Base


class Ia3(Passthrough):
    """Attention's keys and values and the feed-forward's inner activations are rescaled, each by a trained factor.
    Where peft's table does not know the architecture, every linear layer's output is.

    Kind: scaling
    Formula: y = l ⊙ W·x for keys and values, y = W·(l ⊙ x) for the feed-forward, l one at the start.
    Parameters: `out` a layer, `in` a feed-forward layer.
    Paper: Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
    arXiv:2205.05638.
    Use it: with few rows, many adapters to keep, or little memory: a file of some kilobytes, LoRA's speed, and little
    forgotten.
    Not: where the task is far from what the base does: it can only turn up and down what is there. 40 % against LoRA's
    48 % in peft's comparison.
    Defaults: peft's targets, which are the paper's: keys, values and feed-forward.
    Learning rate: the paper's T-Few recipe.
    """

    name: ClassVar[str] = "ia3"
    peft_type: ClassVar[str | None] = "IA3"
    learning_rate: ClassVar[float] = 3e-3
    identity_at_start: ClassVar[bool] = True

    def from_model(self, base: Base) -> dict[str, Any]:
        from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING

        if base.model.config.model_type in TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING:
            return {}
        usual = {"target_modules": ALL_LINEAR, "feedforward_modules": []}
        given = self.settings.model_dump()
        return {field: value for field, value in usual.items() if given[field] is None}
