"""BOFT: orthogonal fine-tuning by a product of sparse rotations, as a butterfly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import OF_THE_INPUT, Passthrough, Size


class Boft(Passthrough):
    """W' = diag(s)·W·(R₁·…·R_m), each Rᵢ a permuted block-diagonal rotation, the identity at the start, s one (Liu et
    al. 2023, arXiv:2311.06243; s is peft's).

    m = boft_n_butterfly_factor factors mix all inputs with few parameters. More than one needs peft's CUDA extension:
    without it peft trains with one. Defaults boft_block_size=4 and one factor are peft's; `boft_block_num` gives the
    number of blocks instead. Learning rate 5e-4: peft's method comparison (method_comparison/MetaMathQA in its
    repository) trains it with the rate that it gives LoRA, so it has `lora`'s here.
    Parameters: m·in·b + out at block size b, m = 1 on CPU.
    """

    name: ClassVar[str] = "boft"
    peft_type: ClassVar[str | None] = "BOFT"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = False  # it is, but for rounding: in bf16 on an 8-bit base that shows
    sizes: ClassVar[Mapping[str, Size]] = {"boft_block_size": OF_THE_INPUT, "boft_block_num": OF_THE_INPUT}
    instead: ClassVar[Mapping[str, str]] = {"boft_block_num": "boft_block_size"}
