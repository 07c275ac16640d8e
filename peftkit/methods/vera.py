"""VeRA: two trained vectors per layer around random matrices that all layers share."""

from __future__ import annotations

from typing import ClassVar

from peftkit.adapters import Passthrough


class Vera(Passthrough):
    """Two trained vectors a layer scale a pair of random matrices that all layers share. The rank costs almost nothing
    and may exceed the layer's width, as in the paper.

    Kind: low-rank
    Formula: W' = W + diag(b)·B·diag(d)·A, A and B random and frozen, b zero at the start.
    Parameters: `r + out` a layer.
    Paper: Kopiczko et al. 2023, "VeRA: Vector-based Random Matrix Adaptation", arXiv:2310.11454.
    Use it: for very few trained parameters at a high rank, on quantized bases too.
    Not: for the smallest file without a second thought: the random matrices are saved too, and outweigh what is
    trained, unless `save_projection: false` leaves them to a seed. All targeted layers share the matrices of the
    largest one; multiplying by r = 256 rows costs more than LoRA's 8.
    Defaults: peft's; d_initial is the paper's (0.1).
    Learning rate: in peft's example on GLUE (examples/sequence_classification/VeRA.ipynb) the head has 1e-2 and the
    vectors 2e-2.
    """

    name: ClassVar[str] = "vera"
    peft_type: ClassVar[str | None] = "VERA"
    learning_rate: ClassVar[float] = 1e-2
    identity_at_start: ClassVar[bool] = True
