"""LoKr: the update is a Kronecker product, one factor of it low-rank."""

from __future__ import annotations

from typing import ClassVar

from peftkit.adapters import Passthrough


class Lokr(Passthrough):
    """The update is a Kronecker product, one factor of it of low rank. It has fewer parameters than LoRA at a high
    rank.

    Kind: structured
    Formula: W' = W + (alpha/r)·C ⊗ (B·A), zero at the start; out = l·k and in = m·n as near to square as they go, C of
    l × m, B·A of k × n.
    Parameters: `l·m + (k·n if r ≥ max(k, n)/2 else r·(k + n))` a layer: where r is at least half of the larger side,
    peft trains the k × n matrix whole.
    Paper: LyCORIS: Yeh et al. 2023, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model
    Evaluation", arXiv:2309.14859.
    Use it: for a small file with an update of high rank.
    Not: on quantized bases or GPT-2 (refused); and r says little where it is above half of the smaller blocks, see the
    count.
    Defaults: peft's.
    Learning rate: that of peft's method comparison (method_comparison/MetaMathQA/experiments/lokr in its repository).
    """

    name: ClassVar[str] = "lokr"
    peft_type: ClassVar[str | None] = "LOKR"
    learning_rate: ClassVar[float] = 3e-3
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # shape errors on 4 bits; on 8 it trains and cannot be merged
