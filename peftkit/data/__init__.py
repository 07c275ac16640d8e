"""Rows: found, split, checked, encoded, batched."""

from peftkit.data.batches import Batches
from peftkit.data.batching import effective_batches, in_length_order, step_slots
from peftkit.data.cells import with_files
from peftkit.data.encoding import Encoded, encode
from peftkit.data.files import read_file
from peftkit.data.sources import Given, read_splits
from peftkit.data.splits import load_splits, load_whole

__all__ = [
    "Batches",
    "Encoded",
    "Given",
    "effective_batches",
    "encode",
    "in_length_order",
    "load_splits",
    "load_whole",
    "read_file",
    "read_splits",
    "step_slots",
    "with_files",
]
