"""P-tuning: the embeddings of virtual tokens come out of a small network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from peftkit.adapters import Prompts
from peftkit.contracts import Base

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class PTuning(Prompts):
    """The embeddings of virtual tokens come out of a small network, which steadies training. Only its output is kept,
    so a saved adapter predicts but cannot be trained further; it is computed in float32, also under autocast.

    Kind: prompt
    Formula: the model reads [f(P); E(x)], f three linear layers, or an LSTM with `encoder_reparameterization_type:
    LSTM`.
    Parameters: `num_virtual_tokens·hidden + (hidden + 1)·w + (w + 1)·w + (w + 1)·hidden` once, w = encoder_hidden_size;
    num_virtual_tokens·hidden are kept.
    Paper: Liu et al. 2021, "GPT Understands, Too", arXiv:2103.10385.
    Use it: where `prompt-tuning` does not get going.
    Not: where `prompt-tuning` is refused, or where training has to go on from a saved adapter.
    Defaults: 20 virtual tokens and a width of 128, those of peft's example on GLUE
    (examples/sequence_classification/P_Tuning.ipynb); the rest is peft's.
    Learning rate: that of the same example.
    """

    name: ClassVar[str] = "p-tuning"
    peft_type: ClassVar[str | None] = "P_TUNING"
    learning_rate: ClassVar[float] = 1e-3
    defaults: ClassVar[Mapping[str, Any]] = {"num_virtual_tokens": 20, "encoder_hidden_size": 128}

    def attach(self, base: Base, total_steps: int) -> Module:
        model: Any = super().attach(base, total_steps)
        network = model.prompt_encoder["default"]
        network.forward = in_full_precision(network.forward, base.model.device.type)
        return cast("Module", model)


def in_full_precision(forward: Callable[..., Tensor], device: str) -> Callable[..., Tensor]:
    """`forward` without autocast: what is saved is the network's output in float32, and so must be what was trained."""

    def computed(*inputs: Any) -> Tensor:
        import torch

        with torch.autocast(device, enabled=False):
            return forward(*inputs)

    return computed
