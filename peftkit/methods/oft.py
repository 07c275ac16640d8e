"""OFT: each weight is rotated by a block-diagonal orthogonal matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import OF_THE_INPUT, Passthrough, Size


class Oft(Passthrough):
    """The inputs of each weight are rotated, in blocks. Lengths and angles between the neurons stay as they were.

    Kind: orthogonal
    Formula: W' = W·diag(R₁, …, R_n), Rᵢ = (I + Q)·(I - Q)⁻¹ of a skew Q, the identity at the start; peft takes 5 terms
    of a Neumann series for the inverse.
    Parameters: `in·(oft_block_size - 1)/2` a layer.
    Paper: Qiu et al. 2023, "Controlling Text-to-Image Diffusion by Orthogonal Finetuning", arXiv:2306.07280.
    Use it: where what the base knows must stay, on quantized bases too; 49 % against LoRA's 48 % in peft's comparison.
    Not: where a step must be cheap (about 1.3 times LoRA's time there), or on GPT-2 (refused).
    Defaults: peft's block size; `r` gives the number of blocks instead.
    Learning rate: that of `lora`: peft's method comparison (method_comparison/MetaMathQA in its repository) gives both
    the same.
    """

    name: ClassVar[str] = "oft"
    peft_type: ClassVar[str | None] = "OFT"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = False  # it is, but for rounding: in bf16 on an 8-bit base that shows
    sizes: ClassVar[Mapping[str, Size]] = {"oft_block_size": OF_THE_INPUT, "r": OF_THE_INPUT}
    instead: ClassVar[Mapping[str, str]] = {"r": "oft_block_size"}
