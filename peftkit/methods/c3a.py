"""C³A: the update is a matrix of circulant blocks, applied by fast Fourier transforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from peftkit.adapters import OF_BOTH_SIDES, Passthrough, Size


class C3a(Passthrough):
    """The update is made of square circulant blocks, each told by one trained vector, and applied by fast Fourier
    transforms. It has full rank at a cost that the block size sets: the larger, the fewer parameters.

    Kind: structured
    Formula: W' = W + ΔW, ΔW of circulant blocks of block_size × block_size.
    Parameters: `out·in/block_size` a layer.
    Paper: Chen et al. 2024, "Parameter-Efficient Fine-Tuning via Circular Convolution", arXiv:2407.19342.
    Use it: for a full-rank update with LoRA's number of parameters; 49 % against LoRA's 48 % in peft's comparison.
    Not: on quantized bases or GPT-2 (refused), or where the sides of the layers have no large common divisor. About 1.3
    times LoRA's time a step there.
    Defaults: peft's block size; but `init_weights` is true here, peft's word for zero (its default is Xavier): training
    starts from the base's output.
    Learning rate: our choice; peft's example (examples/sequence_classification/C3A.ipynb) gives the blocks 3e-1 and the
    head a rate of its own, 4e-6, and one rate serves both here.
    """

    name: ClassVar[str] = "c3a"
    peft_type: ClassVar[str | None] = "C3A"
    learning_rate: ClassVar[float] = 1e-2
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # fails on layers with a bias
    defaults: ClassVar[Mapping[str, Any]] = {"init_weights": True}
    sizes: ClassVar[Mapping[str, Size]] = {"block_size": OF_BOTH_SIDES}
