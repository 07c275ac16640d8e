"""HRA: each weight is reflected by a chain of trained Householder reflections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_INPUT, Passthrough, Size


class Hra(Passthrough):
    """Each weight is reflected by a chain of trained Householder reflections. The change is orthogonal and of low rank
    at once.

    Kind: orthogonal
    Formula: W' = W·H₁·…·H_r, Hᵢ = I - 2·uᵢ·uᵢᵀ/‖uᵢ‖²; peft starts with equal pairs of u, whose reflections cancel: the
    identity where r is even.
    Parameters: `r·in` a layer.
    Paper: Yuan et al. 2024, "Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection
    Adaptation", arXiv:2405.17484.
    Use it: for an orthogonal change with half of LoRA's parameters at the same r.
    Not: on quantized bases (refused: peft would take packed integers for weights, without a word), on GPT-2 (refused),
    or with a large r: the r reflections are one after the other, and each touches the whole weight.
    Defaults: peft's, without Gram-Schmidt (`apply_GS`).
    Learning rate: that of `lora`: peft's method comparison (method_comparison/MetaMathQA in its repository) gives both
    the same.
    """

    name: ClassVar[str] = "hra"
    peft_type: ClassVar[str | None] = "HRA"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # int8 values are taken for weights, without a word; 4 bits fail
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_INPUT}
