"""What tasks share on the way from rows to examples, batches and readings. Loads no torch."""

from peftkit.examples.classes import Classes
from peftkit.examples.tokens import collate_tokens, tokenize

__all__ = ["Classes", "collate_tokens", "tokenize"]
