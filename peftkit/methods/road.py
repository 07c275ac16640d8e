"""RoAd: the outputs of each layer are rotated and scaled in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import Divides, Passthrough, Size


class Road(Passthrough):
    """y' = R·W·x, R of 2 × 2 blocks alpha·(cos θ, -sin θ; sin θ, cos θ) over pairs of outputs, the identity at the
    start (Liao and Monz 2024, arXiv:2409.00119).

    Almost as few parameters as (IA)³, and cheap to serve many of at once. The variants road_1, road_2, road_4 share θ
    and alpha among fewer and fewer entries of a block. Defaults road_1 and group_size=64 are peft's. Learning rate
    3e-3: peft's example on GLUE (examples/sequence_classification/RoAD.py).
    Parameters: out, 2·out or 4·out, by the variant.
    """

    name: ClassVar[str] = "road"
    peft_type: ClassVar[str | None] = "ROAD"
    learning_rate: ClassVar[float] = 3e-3
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"group_size": Divides(lambda out, in_: (out,), multiple_of=2)}
