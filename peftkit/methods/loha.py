"""LoHa: the update is the Hadamard product of two low-rank matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_LAYER, Passthrough, Size


class Loha(Passthrough):
    """The update is the elementwise product of two matrices of low rank. Twice LoRA's parameters reach rank r².

    Kind: structured
    Formula: W' = W + (alpha/r)·(B₁·A₁) ⊙ (B₂·A₂), zero at the start.
    Parameters: `2·r·(out + in)` a layer.
    Paper: Hyeon-Woo et al. 2021, "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning",
    arXiv:2108.06098; LyCORIS: Yeh et al. 2023, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to
    Model Evaluation", arXiv:2309.14859.
    Use it: when a high rank matters more than speed; it comes from image generation.
    Not: on quantized bases or GPT-2 (refused), or on language models by habit: 1.5 times LoRA's time a step, and 42 %
    against 48 %, in peft's comparison.
    Defaults: peft's.
    Learning rate: that of `lora`: peft's method comparison (method_comparison/MetaMathQA in its repository) gives both
    the same.
    """

    name: ClassVar[str] = "loha"
    peft_type: ClassVar[str | None] = "LOHA"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # shape errors on 4 bits; on 8 it trains and cannot be merged
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}
