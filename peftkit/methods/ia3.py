"""(IA)³: attention's keys and values and the feed-forward's inner activations are rescaled."""

from __future__ import annotations

from typing import Any, ClassVar

from peftkit.adapters import ALL_LINEAR, Passthrough
from peftkit.contracts import Base


class Ia3(Passthrough):
    """y' = l ⊙ W·x for keys and values, W·(l ⊙ x) for the feed-forward, l one at the start (Liu et al. 2022,
    arXiv:2205.05638, section 3.3).

    Nothing but one factor per activation: the smallest method that reaches all layers. Defaults are peft's, which are
    the paper's: keys, values and feed-forward. Where peft's table does not know the architecture, every linear
    layer's output is rescaled. Learning rate 3e-3: the paper's T-Few recipe.
    Parameters: out for each targeted layer, in for each feed-forward one.
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
