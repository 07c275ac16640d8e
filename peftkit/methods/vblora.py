"""VB-LoRA: LoRA's matrices are put together from one bank of vectors that all layers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_LAYER, OF_BOTH_SIDES, Passthrough, Size


class Vblora(Passthrough):
    """LoRA's matrices are put together from one bank of vectors that the whole model shares. What is stored may be very
    small (`save_only_topk_weights`, which gives up training it further).

    Kind: low-rank
    Formula: W' = W + B·A, each piece of A and B a softmax-weighted sum of the topk vectors that it chose in the bank;
    it does not start at the base's output exactly.
    Parameters: `r·num_vectors·(out + in)/vector_length` a layer, `num_vectors·vector_length` once.
    Paper: Li et al. 2024, "VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks", arXiv:2405.15179.
    Use it: for many adapters to store, each as small as can be.
    Not: for fewer *trained* parameters: the logits that choose vectors are many, and all are trained. Not on quantized
    bases (refused). 1.3 times LoRA's time a step, and 37 % against 48 %, in peft's comparison.
    Defaults: peft's.
    Learning rate: one rate serves all here; peft's example on GLUE (examples/sequence_classification/VBLoRA.ipynb) has
    1e-3 for the bank, 4e-3 for the head and 1e-2 for the logits.
    """

    name: ClassVar[str] = "vblora"
    peft_type: ClassVar[str | None] = "VBLORA"
    learning_rate: ClassVar[float] = 4e-3
    quantizable: ClassVar[bool] = False  # trains on one by luck, cannot be merged
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER, "vector_length": OF_BOTH_SIDES}
