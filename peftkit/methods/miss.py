"""MiSS: one small matrix per layer, its rows shared among groups of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_INPUT, Passthrough, Size


class Miss(Passthrough):
    """W' = W + ΔW, ΔW repeating one trained r × out matrix over groups of r inputs, zero at the start (Kang and Yin
    2024, arXiv:2409.15371; formerly Bone).

    Half of LoRA's parameters at the same r, fast and light. `init_weights: bat` mixes it with the weights themselves
    and needs r to divide both sides, `mini` shares outputs too. Default r=64 is peft's. Learning rate 5e-4: peft's
    method comparison (method_comparison/MetaMathQA in its repository) trains it with the rate that it gives LoRA, so
    it has `lora`'s here.
    Parameters: r·out.
    """

    name: ClassVar[str] = "miss"
    peft_type: ClassVar[str | None] = "MISS"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_INPUT}
