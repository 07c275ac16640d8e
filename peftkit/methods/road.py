"""RoAd: the outputs of each layer are rotated and scaled in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import Divides, Passthrough, Size


class Road(Passthrough):
    """The outputs of each layer are rotated and scaled in pairs. Almost as few parameters as (IA)³, and cheap to serve
    many of at once.

    Kind: orthogonal
    Formula: y' = R·W·x, R of 2 × 2 blocks alpha·(cos θ, -sin θ; sin θ, cos θ) over pairs of outputs, the identity at
    the start.
    Parameters: `v·out` a layer, v = 1, 2, 4 with `variant: road_1`, road_2, road_4, which share θ and alpha among fewer
    and fewer entries of a block.
    Paper: Liao and Monz 2024, "3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and
    Composability", arXiv:2409.00119.
    Use it: where (IA)³ is too weak and LoRA too large; on quantized bases too.
    Not: where a layer's outputs are odd in number, on GPT-2 (refused), or where the update has to mix more than two
    outputs.
    Defaults: peft's.
    Learning rate: peft's example on GLUE (examples/sequence_classification/RoAD.py).
    """

    name: ClassVar[str] = "road"
    peft_type: ClassVar[str | None] = "ROAD"
    learning_rate: ClassVar[float] = 3e-3
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"group_size": Divides(lambda out, in_: (out,), multiple_of=2)}
