"""GLoRA: a weight and its bias are scaled, shifted and coupled by small trained terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_LAYER, Passthrough, Size


class Glora(Passthrough):
    """Five small terms scale and shift a layer's weight and its bias, and let the weight change the bias. LoRA is the
    case in which only B is there.

    Kind: low-rank
    Formula: W' = W + W ⊙ A + B and b' = b + b·D + E + W·C; A and B are products of rank r, C is one of rank r for a
    single column, D and E are numbers; all zero at the start.
    Parameters: `2·r·(out + in) + r·(in + 1) + 2` a layer, as set by default; the first term alone where the layer has
    no bias.
    Paper: Chavan et al. 2023, "One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning", arXiv:2306.07967.
    Use it: where LoRA is too narrow and biases should move too; `config_A_B`, `config_C` and `config_D_E` choose what
    each term is, down to nothing.
    Not: on quantized bases (refused) or GPT-2 (refused by peft), or where parameters are dear: twice LoRA's and more.
    Defaults: peft's, with r = 8.
    Learning rate: that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "glora"
    peft_type: ClassVar[str | None] = "GLORA"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}
