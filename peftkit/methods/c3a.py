"""C³A: the update is a matrix of circulant blocks, applied by fast Fourier transforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from peftkit.adapters import OF_BOTH_SIDES, Passthrough, Size


class C3a(Passthrough):
    """W' = W + ΔW, ΔW made of b × b circulant blocks of one trained vector each (Chen et al. 2024, arXiv:2407.19342).

    Full rank at a cost that the block size sets: the larger, the fewer parameters. Default block_size=256 is peft's.
    `init_weights` is true here, peft's word for zero (its default is Xavier): training starts from the base's output.
    Learning rate 1e-2: our choice; peft's example (examples/sequence_classification/C3A.ipynb) gives the blocks 3e-1
    and the head a rate of its own, 4e-6, and one rate serves both here.
    Parameters: out·in/block_size.
    """

    name: ClassVar[str] = "c3a"
    peft_type: ClassVar[str | None] = "C3A"
    learning_rate: ClassVar[float] = 1e-2
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # fails on layers with a bias
    defaults: ClassVar[Mapping[str, Any]] = {"init_weights": True}
    sizes: ClassVar[Mapping[str, Size]] = {"block_size": OF_BOTH_SIDES}
