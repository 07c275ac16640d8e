"""OFT: each weight is rotated by a block-diagonal orthogonal matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import OF_THE_INPUT, Passthrough, Size


class Oft(Passthrough):
    """W' = W·R with R = diag(R₁, …, R_r), Rᵢ = (I + Q)(I - Q)⁻¹ of a skew Q, the identity at the start (Qiu et al.
    2023, arXiv:2306.07280: Cayley parametrization; peft takes 5 terms of a Neumann series for the inverse).

    Angles between neurons stay: hard to forget with. Default oft_block_size=32 is peft's; `r` gives the number of
    blocks instead. Learning rate 5e-4: peft's method comparison (method_comparison/MetaMathQA in its repository)
    trains it with the rate that it gives LoRA, so it has `lora`'s here.
    Parameters: in·(b - 1)/2 at block size b.
    """

    name: ClassVar[str] = "oft"
    peft_type: ClassVar[str | None] = "OFT"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = False  # it is, but for rounding: in bf16 on an 8-bit base that shows
    sizes: ClassVar[Mapping[str, Size]] = {"oft_block_size": OF_THE_INPUT, "r": OF_THE_INPUT}
    instead: ClassVar[Mapping[str, str]] = {"r": "oft_block_size"}
