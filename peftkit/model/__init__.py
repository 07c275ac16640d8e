"""The base model: found, loaded, quantized, its head told apart."""

from peftkit.model.loading import (
    is_tokenizer,
    load_base,
    load_config,
    load_empty,
    load_processor,
    longest_input,
)

__all__ = ["is_tokenizer", "load_base", "load_config", "load_empty", "load_processor", "longest_input"]
