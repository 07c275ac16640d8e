"""VeRA: two trained vectors per layer around random matrices that all layers share."""

from __future__ import annotations

from typing import ClassVar

from peftkit.adapters import Passthrough


class Vera(Passthrough):
    """W' = W + diag(b)·B·diag(d)·A with A and B random, frozen and shared, b zero at the start (Kopiczko et al. 2023,
    arXiv:2310.11454, eq. 2).

    A hundredth of LoRA's parameters; the rank costs almost nothing and may exceed the layer's width, as in the paper.
    Defaults are peft's: r=256, d = 0.1 at the start (the paper's section 3.2 finds 0.1 good). All targeted layers
    must have shapes within those of the largest. Learning rate 1e-2: in peft's example on GLUE
    (examples/sequence_classification/VeRA.ipynb) the head has 1e-2 and the vectors 2e-2.
    Parameters: r + out.
    """

    name: ClassVar[str] = "vera"
    peft_type: ClassVar[str | None] = "VERA"
    learning_rate: ClassVar[float] = 1e-2
    identity_at_start: ClassVar[bool] = True
