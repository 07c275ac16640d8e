"""The base model: found, loaded, quantized, its head told apart."""

from peftkit.model.loading import (
    is_tokenizer,
    load_base,
    load_config,
    load_empty,
    load_processor,
    locate,
    longest_input,
)

__all__ = ["is_tokenizer", "load_base", "load_config", "load_empty", "load_processor", "locate", "longest_input"]
