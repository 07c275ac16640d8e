"""FourierFT: the update is the inverse Fourier transform of a few trained coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from peftkit.adapters import IN_THE_WEIGHT, Passthrough, Size


class Fourierft(Passthrough):
    """The update is the inverse Fourier transform of a few trained coefficients. As many parameters a layer as one
    likes, whatever its size.

    Kind: structured
    Formula: W' = W + scaling·Re(IDFT₂(F)), F zero but for n_frequency trained entries at random places that a seed
    fixes.
    Parameters: `n_frequency` a layer.
    Paper: Gao et al. 2024, "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", arXiv:2405.03003.
    Use it: for a file of a chosen small size on large layers.
    Not: on quantized bases (refused), or where steps must be cheap: the whole update is transformed at every step, 1.7
    times LoRA's time in peft's comparison. It needs a rate of its own: with LoRA's it learnt nothing there.
    Defaults: peft's, and those of its example on GLUE (examples/sequence_classification/FourierFT.ipynb); but
    `init_weights` is true here (peft draws the coefficients from a normal distribution): training starts from the
    base's output.
    Learning rate: one rate serves head and coefficients here; that example has 6e-3 and 6e-2.
    """

    name: ClassVar[str] = "fourierft"
    peft_type: ClassVar[str | None] = "FOURIERFT"
    learning_rate: ClassVar[float] = 1e-2
    identity_at_start: ClassVar[bool] = True
    quantizable: ClassVar[bool] = False  # trains on one by luck, cannot be merged
    defaults: ClassVar[Mapping[str, Any]] = {"init_weights": True}
    sizes: ClassVar[Mapping[str, Size]] = {"n_frequency": IN_THE_WEIGHT}
