"""Parameters of the trainable model: trainable, total, share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Probe

if TYPE_CHECKING:
    from torch.nn import Module, Parameter


class ParameterProbe(Probe):
    """``trainable_parameters`` and ``total_parameters`` (counts), ``trainable_share`` (0 to 1).

    A 4-bit weight counts as the weights it packs, so a quantized base has the counts of the unquantized one. The frozen
    originals that peft keeps beside a trained head are not part of the model's work and are not counted.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Any] = {}

    def model_ready(self, model: Module) -> None:
        trainable, total = count(model)
        self.counts = {
            "trainable_parameters": trainable,
            "total_parameters": total,
            "trainable_share": trainable / total,
        }

    def costs(self) -> dict[str, Any]:
        return self.counts


def count(model: Module) -> tuple[int, int]:
    """Trainable and total parameters; tied weights count once."""
    trainable = total = 0
    for name, parameter in model.named_parameters():
        if ".original_module." in name:
            continue
        size = _unpacked_size(parameter)
        total += size
        trainable += size if parameter.requires_grad else 0
    return trainable, total


def _unpacked_size(parameter: Parameter) -> int:
    state = getattr(parameter, "quant_state", None)  # bitsandbytes' Params4bit
    return math.prod(state.shape) if state is not None else parameter.numel()
