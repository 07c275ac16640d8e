"""VB-LoRA: LoRA's matrices are put together from one bank of vectors that all layers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_LAYER, OF_BOTH_SIDES, Passthrough, Size


class Vblora(Passthrough):
    """W' = W + B·A, each piece of A and B a softmax-weighted sum of the topk vectors that it chose in the bank (Li et
    al. 2024, arXiv:2405.15179).

    One bank for the whole model: what is stored may be very small (`save_only_topk_weights`, which gives up training
    it further). Does not start at the base's output exactly: no part of it is zero. Defaults r=4, num_vectors=256,
    vector_length=256, topk=2 are peft's. Learning rate 4e-3: one rate serves all here; peft's example on GLUE
    (examples/sequence_classification/VBLoRA.ipynb) has 1e-3 for the bank, 4e-3 for the head and 1e-2 for the logits.
    Parameters: r·num_vectors·(out + in)/vector_length, and once num_vectors·vector_length.
    """

    name: ClassVar[str] = "vblora"
    peft_type: ClassVar[str | None] = "VBLORA"
    learning_rate: ClassVar[float] = 4e-3
    quantizable: ClassVar[bool] = False  # trains on one by luck, cannot be merged
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER, "vector_length": OF_BOTH_SIDES}
