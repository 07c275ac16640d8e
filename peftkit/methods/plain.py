"""Tuners of peft that need nothing but their own fields: peft's own defaults, through the generic passthrough alone.

Their learning rates follow peft's method comparison (method_comparison/MetaMathQA in its repository) as multiples of
the rate that it gives LoRA, 1e-4 on Llama 3.2 3B, where `lora` here has 5e-4; a class says so where it does not.
None of them is released for quantized bases but HiRA: most fail there, some take packed integers for weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_INPUT, IN_THE_LAYER, IN_THE_WEIGHT, Passthrough, Size


class Adamss(Passthrough):
    """AdaMSS: low-rank updates inside clusters of a weight's singular subspaces, by plain passthrough."""

    name: ClassVar[str] = "adamss"
    peft_type: ClassVar[str | None] = "ADAMSS"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False


class Beft(Passthrough):
    """BEFT: one added bias per targeted layer (arXiv:2509.15974), by plain passthrough. Learning rate: `bitfit`'s."""

    name: ClassVar[str] = "beft"
    peft_type: ClassVar[str | None] = "BEFT"
    learning_rate: ClassVar[float] = 1e-3
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True


class Deft(Passthrough):
    """DEFT: W' = (I - P)·W + Q·R, a part of the weight replaced by a low-rank one, by plain passthrough."""

    name: ClassVar[str] = "deft"
    peft_type: ClassVar[str | None] = "DEFT"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Delora(Passthrough):
    """DeLoRA: LoRA with its strength apart from its direction (arXiv:2503.18225), by plain passthrough."""

    name: ClassVar[str] = "delora"
    peft_type: ClassVar[str | None] = "DELORA"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Frod(Passthrough):
    """FRoD: a sparse rotation in a basis that all layers of a kind share (doi:10.1609/aaai.v40i31.39813), by plain
    passthrough.
    """

    name: ClassVar[str] = "frod"
    peft_type: ClassVar[str | None] = "FROD"
    learning_rate: ClassVar[float] = 5e-3
    quantizable: ClassVar[bool] = False


class Gralora(Passthrough):
    """GraLoRA: a LoRA for each block of a weight, by plain passthrough."""

    name: ClassVar[str] = "gralora"
    peft_type: ClassVar[str | None] = "GRALORA"
    learning_rate: ClassVar[float] = 1e-3
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True


class Hira(Passthrough):
    """HiRA: W' = W + W ⊙ (B·A), of high rank through the weight itself, by plain passthrough.

    Learning rate 4.5e-3: the comparison's own, unscaled.
    """

    name: ClassVar[str] = "hira"
    peft_type: ClassVar[str | None] = "HIRA"
    learning_rate: ClassVar[float] = 4.5e-3
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Lily(Passthrough):
    """Lily: low-rank updates whose halves are shared across layers and mixed by a router (arXiv:2407.09946), by plain
    passthrough.
    """

    name: ClassVar[str] = "lily"
    peft_type: ClassVar[str | None] = "LILY"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False  # what is added depends on the input
    identity_at_start: ClassVar[bool] = True


class Osf(Passthrough):
    """OSF: full fine-tuning within the directions that the weight uses least, by plain passthrough."""

    name: ClassVar[str] = "osf"
    peft_type: ClassVar[str | None] = "OSF"
    learning_rate: ClassVar[float] = 2.5e-4
    quantizable: ClassVar[bool] = False


class Peanut(Passthrough):
    """PEANuT: an update that a small network computes from the weight itself (arXiv:2410.01870), by plain
    passthrough.
    """

    name: ClassVar[str] = "peanut"
    peft_type: ClassVar[str | None] = "PEANUT"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Psoft(Passthrough):
    """PSOFT: a rotation inside the weight's principal subspace, by plain passthrough."""

    name: ClassVar[str] = "psoft"
    peft_type: ClassVar[str | None] = "PSOFT"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_INPUT}


class Pvera(Passthrough):
    """PVeRA: VeRA with a distribution over its vectors, drawn from in training (arXiv:2512.07703), by plain
    passthrough.

    Learning rate: `vera`'s.
    """

    name: ClassVar[str] = "pvera"
    peft_type: ClassVar[str | None] = "PVERA"
    learning_rate: ClassVar[float] = 1e-2
    quantizable: ClassVar[bool] = False


class Supertuning(Passthrough):
    """Super-Tuning: only the largest single weights of each layer (arXiv:2607.09287), by plain passthrough."""

    name: ClassVar[str] = "supertuning"
    peft_type: ClassVar[str | None] = "SUPERTUNING"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True


class Tinylora(Passthrough):
    """TinyLoRA: a few numbers per layer through fixed random tensors (arXiv:2602.04118), by plain passthrough."""

    name: ClassVar[str] = "tinylora"
    peft_type: ClassVar[str | None] = "TINYLORA"
    learning_rate: ClassVar[float] = 5e-3
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Unilora(Passthrough):
    """Uni-LoRA: all of LoRA's matrices projected out of one trained vector (arXiv:2506.00799), by plain passthrough."""

    name: ClassVar[str] = "unilora"
    peft_type: ClassVar[str | None] = "UNILORA"
    learning_rate: ClassVar[float] = 1e-2
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Waveft(Passthrough):
    """WaveFT: the update is the inverse wavelet transform of a few trained coefficients, by plain passthrough."""

    name: ClassVar[str] = "waveft"
    peft_type: ClassVar[str | None] = "WAVEFT"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"n_frequency": IN_THE_WEIGHT}
