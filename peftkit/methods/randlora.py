"""RandLoRA: a full-rank update from random low-rank bases whose scales are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_LAYER, Passthrough, Size


class Randlora(Passthrough):
    """W' = W + (alpha/r)·Σⱼ B·Λⱼ·A·Γⱼ over n = ⌈min(out, in)/r⌉ frozen random bases, Λ and Γ diagonal and trained
    (Albert et al. 2025, arXiv:2502.00987).

    Full rank with LoRA's parameter count: a *smaller* r means more bases and more parameters. Defaults r=32,
    alpha=640 are peft's, the paper's 20·r. Learning rate 5e-4: peft's method comparison (method_comparison/MetaMathQA
    in its repository) trains it with the rate that it gives LoRA, so it has `lora`'s here.
    Parameters: n·(r + min(out, in)).
    """

    name: ClassVar[str] = "randlora"
    peft_type: ClassVar[str | None] = "RANDLORA"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}
