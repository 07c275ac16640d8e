"""HRA: each weight is reflected by a chain of trained Householder reflections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_INPUT, Passthrough, Size


class Hra(Passthrough):
    """W' = W·H₁·…·H_r, Hᵢ = I - 2·uᵢ·uᵢᵀ/‖uᵢ‖² (Yuan et al. 2024, arXiv:2405.17484).

    Orthogonal and low-rank at once. peft starts with equal pairs of u, whose reflections cancel: the identity where r
    is even. Defaults r=8 without Gram-Schmidt (`apply_GS`) are peft's. Learning rate 5e-4: peft's method comparison
    (method_comparison/MetaMathQA in its repository) trains it with the rate that it gives LoRA, so it has `lora`'s
    here.
    Parameters: r·in.
    """

    name: ClassVar[str] = "hra"
    peft_type: ClassVar[str | None] = "HRA"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # int8 values are taken for weights, without a word; 4 bits fail
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_INPUT}
