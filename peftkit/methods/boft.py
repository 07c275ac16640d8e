"""BOFT: orthogonal fine-tuning by a product of sparse rotations, as a butterfly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import OF_THE_INPUT, Passthrough, Size


class Boft(Passthrough):
    """A product of sparse rotations, arranged as a butterfly, mixes all inputs with few parameters. More than one
    factor needs peft's CUDA extension; without it peft trains with one.

    Kind: orthogonal
    Formula: W' = diag(s)·W·(R₁·…·R_m), each Rᵢ a permuted block-diagonal rotation, the identity at the start, s one (s
    is peft's).
    Parameters: `boft_n_butterfly_factor·in·boft_block_size + out` a layer.
    Paper: Liu et al. 2023, "Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization", arXiv:2311.06243.
    Use it: to compare with; `oft` does the same with one factor.
    Not: where time matters: 5.5 times LoRA's time a step in peft's comparison, at 36 % against 48 %. Not on GPT-2
    (refused).
    Defaults: peft's; `boft_block_num` gives the number of blocks instead.
    Learning rate: that of `lora`: peft's method comparison (method_comparison/MetaMathQA in its repository) gives both
    the same.
    """

    name: ClassVar[str] = "boft"
    peft_type: ClassVar[str | None] = "BOFT"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = False  # it is, but for rounding: in bf16 on an 8-bit base that shows
    sizes: ClassVar[Mapping[str, Size]] = {"boft_block_size": OF_THE_INPUT, "boft_block_num": OF_THE_INPUT}
    instead: ClassVar[Mapping[str, str]] = {"boft_block_num": "boft_block_size"}
