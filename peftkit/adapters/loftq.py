"""LoftQ: LoRA begins with what quantization has taken from the weights (Li et al. 2023, arXiv:2310.08659)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

INSIDE = "base_model.model."
"""What peft puts before a module's name in the base."""


def start_from_quantization_error(model: Any, original: Module) -> None:
    """Sets A and B of each layer so that scaling·B·A is the best approximation of W - Q of rank r: with U·S·Vᵀ = W - Q,
    B = U·√S / scaling and A = √S·Vᵀ, the first r of each (alg. 1 of the paper with T = 1).

    W is the weight in `original`, Q the quantized one in `model`, and stays as it is: loading the same base again gives
    the Q that the adapter was made for. More alternations would change Q, and the adapter would fit no base that
    anybody can load. peft's own functions for this want a CUDA device (0.21.2, `loftq_init`); this one does not.
    """
    import torch
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_bnb_weight

    with torch.no_grad():
        for name, layer in model.named_modules():
            if not isinstance(layer, LoraLayer) or type(layer.get_base_layer().weight).__name__ not in QUANTIZED:
                continue  # a layer that was left as it is has nothing to make up for
            packed = layer.get_base_layer()
            rank, scaling = layer.r["default"], layer.scaling["default"]
            down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            quantized = dequantize_bnb_weight(packed.weight, state=getattr(packed, "state", None)).float()
            error = _weight(original, name.removeprefix(INSIDE)).to(quantized.device) - quantized
            left, sizes, right = torch.linalg.svd(error, full_matrices=False)
            root = sizes[:rank].sqrt()
            down[: len(root)] = root[:, None] * right[:rank]
            up[:, : len(root)] = left[:, :rank] * root / scaling


QUANTIZED = ("Params4bit", "Int8Params")
"""Classes of bitsandbytes' packed weights."""


def _weight(original: Module, name: str) -> Tensor:
    """A layer's weight as ``(out, in)``, the form in which bitsandbytes packs it."""
    from transformers.pytorch_utils import Conv1D

    layer: Any = original.get_submodule(name)
    weight: Tensor = layer.weight.float()
    return weight.T if isinstance(layer, Conv1D) else weight
