"""Whether tensors have changed, bit for bit: a checksum of each on its own device, read at the speed of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

COLUMNS = 512
"""Words of 8 bytes that are weighted apart; tensors up to 4 KiB have a weight for every word."""


def checksums(tensors: dict[str, Tensor]) -> Tensor:
    """One 64-bit integer a tensor, in their order: ``(tensors,)``; nothing is copied, no device is waited for.

    The bytes are taken as 64-bit integers in rows of 512, the columns summed, and the sums weighted by random odd
    numbers, modulo 2**64. A plain sum would not do: Adam's first steps are +rate and -rate, and cancel in it.
    """
    import torch

    draw = torch.Generator().manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, (COLUMNS,), generator=draw) * 2 + 1
    by_device = {device: weights.to(device) for device in {tensor.device for tensor in tensors.values()}}
    return torch.stack([_checksum(tensor, by_device[tensor.device]) for tensor in tensors.values()])


def kept_tensors(model: Module) -> dict[str, Tensor]:
    """What a model is made of, by name: parameters, the scales of 4-bit ones, and buffers that checkpoints hold.

    Buffers that no checkpoint holds (the frequencies of rotary positions) are caches, and may change.
    """
    return dict(_kept_tensors(model))


def _kept_tensors(model: Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        yield name, parameter
        state: Any = getattr(parameter, "quant_state", None)  # bitsandbytes' Params4bit
        if state is not None:
            yield f"{name}.absmax", state.absmax
    for prefix, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}" if prefix else name, buffer


def _checksum(tensor: Tensor, weights: Tensor) -> Tensor:
    import torch

    raw = tensor.data.reshape(-1).view(torch.uint8)
    if raw.storage_offset() % 8:
        raw = raw.clone()  # an integer of 8 bytes begins at a multiple of 8
    words = raw[: len(raw) // 8 * 8].view(torch.int64)
    rows = len(words) // COLUMNS
    end, rest = words[rows * COLUMNS :], raw[len(words) * 8 :]
    total = (words[: rows * COLUMNS].view(rows, COLUMNS).sum(0) * weights).sum()
    return total + (end * weights[: len(end)]).sum() + (rest * weights[-len(rest) :] if len(rest) else rest).sum()
