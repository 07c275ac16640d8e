"""bitsandbytes quantization of the frozen base, on CPU as on GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftkit.recipe import Quantization

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


def quantization_config(settings: Quantization, dtype: str, head: tuple[str, ...]) -> BitsAndBytesConfig:
    """transformers' configuration; `head` stays in full precision (the skip list serves 4 bits as well as 8)."""
    import torch
    from transformers import BitsAndBytesConfig

    skip = list(head) or None
    if settings.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.type,
        bnb_4bit_use_double_quant=settings.double,
        bnb_4bit_compute_dtype=getattr(torch, settings.compute_dtype or dtype),
        llm_int8_skip_modules=skip,
    )


def keep_trainable_on_cpu() -> None:
    """Keeps bitsandbytes from repacking 4-bit weights for AVX512-BF16 in the first evaluation.

    The repacking cannot be undone, and no gradient passes the packed weights: training after an evaluation would learn
    nothing, without a word (bitsandbytes 0.50, nn/modules.py, Linear4bit.forward).
    """
    import bitsandbytes.nn.modules as modules

    if hasattr(modules, "has_avx512bf16"):
        modules.has_avx512bf16 = lambda: False
