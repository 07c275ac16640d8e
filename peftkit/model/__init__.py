"""The base model: found, loaded, quantized, its head told apart."""

from peftkit.model.loading import load_base, load_config, load_empty, load_tokenizer, locate, longest_input

__all__ = ["load_base", "load_config", "load_empty", "load_tokenizer", "locate", "longest_input"]
