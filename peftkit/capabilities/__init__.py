"""What works with what, as it was proved on toy models: read from a data file, without torch.

``peftkit methods --probe`` (`peftkit.proving`) makes the file; recipes are held to it before anything loads.
"""

from peftkit.capabilities.matrix import Matrix
from peftkit.capabilities.table import (
    BITS,
    FILE,
    MODES,
    WORKS,
    Case,
    Entry,
    Outcome,
    Table,
    capabilities,
    setting_aside,
)

__all__ = [
    "BITS",
    "FILE",
    "MODES",
    "WORKS",
    "Case",
    "Entry",
    "Matrix",
    "Outcome",
    "Table",
    "capabilities",
    "setting_aside",
]
