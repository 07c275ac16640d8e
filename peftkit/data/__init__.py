"""Rows: found, split, checked, tokenized, batched."""

from peftkit.data.batching import collate, effective_batches, in_length_order, step_slots
from peftkit.data.encoding import Encoded, encode
from peftkit.data.files import read_file
from peftkit.data.sources import read_splits
from peftkit.data.splits import load_splits, load_whole

__all__ = [
    "Encoded",
    "collate",
    "effective_batches",
    "encode",
    "in_length_order",
    "load_splits",
    "load_whole",
    "read_file",
    "read_splits",
    "step_slots",
]
