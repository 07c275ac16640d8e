"""LoHa: the update is the Hadamard product of two low-rank matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_LAYER, Passthrough, Size


class Loha(Passthrough):
    """W' = W + (alpha/r)·(B₁·A₁) ⊙ (B₂·A₂), zero at the start (FedPara: Hyeon-Woo et al. 2021, arXiv:2108.06098;
    LyCORIS: Yeh et al. 2023, arXiv:2309.14859).

    Twice LoRA's parameters reach rank r². Defaults r=8, alpha=8 are peft's. Learning rate 5e-4: peft's method
    comparison (method_comparison/MetaMathQA in its repository) trains it with the rate that it gives LoRA, so it has
    `lora`'s here.
    Parameters: 2·r·(out + in).
    """

    name: ClassVar[str] = "loha"
    peft_type: ClassVar[str | None] = "LOHA"
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # shape errors on 4 bits; on 8 it trains and cannot be merged
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}
