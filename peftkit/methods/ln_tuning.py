"""LayerNorm tuning: only the normalizations of the base are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.adapters import Passthrough
from peftkit.contracts import Base

if TYPE_CHECKING:
    from torch.nn import Module


class LnTuning(Passthrough):
    """Only the normalizations of the base are trained. peft's table knows few architectures and leaves norms out in
    some, so all of the model's own norms are found here.

    Kind: selective
    Formula: y = g' ⊙ norm(x) + b', g' and b' trained, in every LayerNorm and RMSNorm outside the head.
    Parameters: `2·hidden` a LayerNorm, half of that an RMSNorm.
    Paper: Zhao et al. 2023, "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning",
    arXiv:2312.11420.
    Use it: for a few thousand parameters that reach every layer at no cost when predicting, on quantized bases too; it
    merges.
    Not: in half precision (the norms are the base's own and would be rounded), or where the task is far from what the
    base knows: features are reweighted, none is made.
    Defaults: every norm outside the head.
    Learning rate: our choice, that of `bitfit`, which trains as few weights.
    """

    name: ClassVar[str] = "ln-tuning"
    peft_type: ClassVar[str | None] = "LN_TUNING"
    learning_rate: ClassVar[float] = 1e-3
    identity_at_start: ClassVar[bool] = True
    half_precision: ClassVar[bool] = False  # the norms are the base's own and would be rounded when loaded again

    def from_model(self, base: Base) -> dict[str, Any]:
        if self.settings.model_dump()["target_modules"] is not None:
            return {}
        inside = tuple(f"{head}." for head in base.head)
        norms = [name for name, module in base.model.named_modules() if is_norm(module)]
        return {"target_modules": [name for name in norms if not f"{name}.".startswith(inside)]}


def is_norm(module: Module) -> bool:
    """Whether `module` is a LayerNorm or RMSNorm with weights: torch's, or an architecture's own by that name."""
    kind = type(module).__name__.lower()
    return kind.endswith(("layernorm", "rmsnorm")) and next(module.parameters(recurse=False), None) is not None
