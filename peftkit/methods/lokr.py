"""LoKr: the update is a Kronecker product, one factor of it low-rank."""

from __future__ import annotations

from typing import ClassVar

from peftkit.adapters import Passthrough


class Lokr(Passthrough):
    """W' = W + (alpha/r)·C ⊗ (B·A), zero at the start (LyCORIS: Yeh et al. 2023, arXiv:2309.14859).

    With out = l·k and in = m·n, as near to square as they go, C is l × m and B·A is k × n: fewer parameters than LoRA
    at a high rank. Where r is at least half of the larger of k and n, peft trains the k × n matrix whole. Defaults
    r=8, alpha=8 are peft's. Learning rate 3e-3: that of peft's method comparison
    (method_comparison/MetaMathQA/experiments/lokr in its repository).
    Parameters: l·m + r·(k + n), or l·m + k·n.
    """

    name: ClassVar[str] = "lokr"
    peft_type: ClassVar[str | None] = "LOKR"
    learning_rate: ClassVar[float] = 3e-3
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # shape errors on 4 bits; on 8 it trains and cannot be merged
