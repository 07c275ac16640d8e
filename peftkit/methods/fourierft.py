"""FourierFT: the update is the inverse Fourier transform of a few trained coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from peftkit.adapters import IN_THE_WEIGHT, Passthrough, Size


class Fourierft(Passthrough):
    """W' = W + scaling·Re(IDFT₂(F)), F zero but for n_frequency trained entries at random places that a seed fixes
    (Gao et al. 2024, arXiv:2405.03003, eq. 2 to 4).

    As many parameters per layer as one likes, whatever its size. Defaults n_frequency=1000, scaling=150 are peft's
    and its example's on GLUE (examples/sequence_classification/FourierFT.ipynb). `init_weights` is true here (peft's
    default draws the coefficients from a normal distribution): training starts from the base's output. Learning rate
    1e-2: one rate serves head and coefficients here; that example has 6e-3 and 6e-2.
    Parameters: n_frequency.
    """

    name: ClassVar[str] = "fourierft"
    peft_type: ClassVar[str | None] = "FOURIERFT"
    learning_rate: ClassVar[float] = 1e-2
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # trains on one by luck, cannot be merged
    defaults: ClassVar[Mapping[str, Any]] = {"init_weights": True}
    sizes: ClassVar[Mapping[str, Size]] = {"n_frequency": IN_THE_WEIGHT}
