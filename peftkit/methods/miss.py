"""MiSS: one small matrix per layer, its rows shared among groups of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_INPUT, Passthrough, Size


class Miss(Passthrough):
    """One small matrix a layer is repeated over groups of inputs. It is fast and light, and has half of LoRA's
    parameters at the same r.

    Kind: structured
    Formula: W' = W + ΔW, ΔW repeating one trained r × out matrix over groups of r inputs, zero at the start.
    Parameters: `r·out` a layer.
    Paper: Kang and Yin 2024, "MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure"
    (formerly Bone), arXiv:2409.15371.
    Use it: in LoRA's place where memory is short: one trained matrix and a sum of inputs; on quantized bases too.
    Not: on GPT-2 (refused), or with `init_weights: bat`, which mixes the matrix with the weights themselves and needs r
    to divide both sides, without need (`mini` shares outputs too).
    Defaults: peft's.
    Learning rate: that of `lora`: peft's method comparison (method_comparison/MetaMathQA in its repository) gives both
    the same.
    """

    name: ClassVar[str] = "miss"
    peft_type: ClassVar[str | None] = "MISS"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_INPUT}
