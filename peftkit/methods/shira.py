"""SHiRA: a few single weights of each layer are trained, chosen at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import AtMost, Passthrough, Size

SPARSE = AtMost(lambda out, in_: out * in_ // (out + in_))
"""No more single weights than the layer has."""


class Shira(Passthrough):
    """W' = W + S, S sparse with r·(out + in) trained entries, zero at the start (Bhardwaj et al. 2024,
    arXiv:2406.13175). On an 8-bit base the start differs by rounding: peft computes W + S in full precision.

    High rank, and 1-2% of the weights change: adapters can be switched fast and mixed. As many parameters as LoRA of
    the same r. Default r=32 with a random mask is peft's; `random_seed` fixes the mask apart from the recipe's seed.
    Learning rate 1.5e-3: peft's method comparison (method_comparison/MetaMathQA in its repository) gives it three
    times LoRA's rate, so it has three times `lora`'s here.
    Parameters: r·(out + in).
    """

    name: ClassVar[str] = "shira"
    peft_type: ClassVar[str | None] = "SHIRA"
    learning_rate: ClassVar[float] = 1.5e-3
    identity_at_start: ClassVar[bool] = False  # it is, but for rounding on an 8-bit base
    sizes: ClassVar[Mapping[str, Size]] = {"r": SPARSE}
