"""RandLoRA: a full-rank update from random low-rank bases whose scales are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_LAYER, Passthrough, Size


class Randlora(Passthrough):
    """A full-rank update is put together from frozen random matrices of low rank whose scales are trained. A *smaller*
    r means more of them and more parameters.

    Kind: low-rank
    Formula: W' = W + (alpha/r)·Σⱼ B·Λⱼ·A·Γⱼ over n = ⌈min(out, in)/r⌉ bases, Λ and Γ diagonal and trained.
    Parameters: `⌈min(out, in)/r⌉·(r + min(out, in))` a layer.
    Paper: Albert et al. 2025, "RandLoRA: Full-rank parameter-efficient fine-tuning of large models", arXiv:2502.00987.
    Use it: when LoRA stops gaining with its rank: 52 % against LoRA's 48 % in peft's comparison.
    Not: where steps must be cheap (about 1.7 times LoRA's time there) or for a small file, unless `save_projection:
    false` leaves the bases to a seed.
    Defaults: peft's; alpha is the paper's 20·r.
    Learning rate: that of `lora`: peft's method comparison (method_comparison/MetaMathQA in its repository) gives both
    the same.
    """

    name: ClassVar[str] = "randlora"
    peft_type: ClassVar[str | None] = "RANDLORA"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}
