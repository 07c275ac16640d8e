"""SHiRA: a few single weights of each layer are trained, chosen at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import AtMost, Passthrough, Size

SPARSE = AtMost(lambda out, in_: out * in_ // (out + in_))
"""No more single weights than the layer has."""


class Shira(Passthrough):
    """A few single weights of each layer are trained, chosen at random. The change has a high rank and touches 1 to 2 %
    of the weights, so that adapters are quickly switched and mixed.

    Kind: selective
    Formula: W' = W + S, S sparse, zero at the start. On an 8-bit base the start differs by rounding: peft computes W +
    S in full precision.
    Parameters: `r·(out + in)` a layer, as many as LoRA of the same r.
    Paper: Bhardwaj et al. 2024, "Sparse High Rank Adapters", arXiv:2406.13175.
    Use it: to serve one base with many adapters, or to add several of them up; on quantized bases too.
    Not: for memory: W + S is formed whole at every step. Not on GPT-2 (refused).
    Defaults: peft's, with its random mask; `random_seed` fixes the mask apart from the recipe's seed.
    Learning rate: three times that of `lora`, as in peft's method comparison (method_comparison/MetaMathQA in its
    repository).
    """

    name: ClassVar[str] = "shira"
    peft_type: ClassVar[str | None] = "SHIRA"
    learning_rate: ClassVar[float] = 1.5e-3
    identity_at_start: ClassVar[bool] = False  # it is, but for rounding on an 8-bit base
    sizes: ClassVar[Mapping[str, Size]] = {"r": SPARSE}
