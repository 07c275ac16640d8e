"""Other tuners of peft that need nothing but their own fields: through the generic passthrough alone.

Their learning rates follow peft's method comparison (method_comparison/MetaMathQA in its repository) as multiples of
the rate that it gives LoRA, 1e-4 on Llama 3.2 3B, where `lora` here has 5e-4; a class says so where it does not.
None of them is released for quantized bases but HiRA: most fail there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_INPUT, IN_THE_LAYER, IN_THE_WEIGHT, Passthrough, Size


class Beft(Passthrough):
    """One bias is added to each targeted layer and trained. By peft's table that is the value projection, whose bias
    helps most with few rows.

    Kind: selective
    Formula: y = W·x + b + b', b' zero at the start.
    Parameters: `out` a layer.
    Paper: Huang et al. 2025, "BEFT: Bias-Efficient Fine-Tuning of Language Models", arXiv:2509.15974.
    Use it: with few rows, also on models that have no biases for `bitfit`.
    Not: on quantized bases (refused), with many rows, where peft's own page puts LoRA ahead, or to merge on models
    without biases (there is nothing to merge into).
    Defaults: peft's.
    Learning rate: that of `bitfit`, which trains the same kind of weight.
    """

    name: ClassVar[str] = "beft"
    peft_type: ClassVar[str | None] = "BEFT"
    learning_rate: ClassVar[float] = 1e-3
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True


class Frod(Passthrough):
    """All layers of a kind share one basis, found from their weights together; a diagonal and a few entries beside it
    are trained. The update has full rank.

    Kind: orthogonal
    Formula: W' = U·(S + Λ)·Vᵀ, V shared and frozen, Λ diagonal and S sparse, both trained.
    Parameters: `in + ⌊sparse_rate·in²⌋` a layer.
    Paper: Wan et al. 2025, "FRoD: Full-Rank Efficient Fine-Tuning with Rotational Degrees for Fast Convergence",
    arXiv:2512.23485.
    Use it: where low rank is too narrow and the number of trained parameters must stay small.
    Not: on quantized bases (refused), for a small file (the basis is saved too, unless `save_projection: false`), or
    where starting must be quick: the basis of every kind of layer is computed first.
    Defaults: peft's.
    Learning rate: ten times that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "frod"
    peft_type: ClassVar[str | None] = "FROD"
    learning_rate: ClassVar[float] = 5e-3
    quantizable: ClassVar[bool] = False


class Hira(Passthrough):
    """The low-rank product multiplies the weight elementwise in place of being added to it. Through the weight itself
    the update has a high rank, with LoRA's number of parameters.

    Kind: structured
    Formula: W' = W + W ⊙ (B·A), B zero at the start.
    Parameters: `r·(out + in)` a layer.
    Paper: Huang et al. 2025, "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models", ICLR,
    openreview TwJrTz9cRS.
    Use it: where LoRA is too weak and the parameters must stay as few; on quantized bases too, alone among the tuners
    without settings of their own here.
    Not: where a weight is near zero and should not stay so: it only scales what is there. The whole product is formed
    at every step.
    Defaults: peft's.
    Learning rate: that of peft's comparison, unscaled.
    """

    name: ClassVar[str] = "hira"
    peft_type: ClassVar[str | None] = "HIRA"
    learning_rate: ClassVar[float] = 4.5e-3
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Osf(Passthrough):
    """Each weight is split by its singular values: the large ones stay frozen, the rest is trained, and gradients are
    kept orthogonal to what is frozen. It is full fine-tuning within the directions that the weight uses least.

    Kind: selective
    Formula: W' = U_high·S_high·V_highᵀ + U_low·S_low·V_lowᵀ, the low part trained.
    Parameters: `(min(out, in) - effective_rank)·(out + in + 1)` a layer; half of the smaller side is frozen where
    effective_rank is not given.
    Paper: Nayak et al. 2025, "Sculpting Subspaces: Constrained Full Fine-Tuning in LLMs for Continual Learning",
    arXiv:2504.07097.
    Use it: to learn one task after another and keep the earlier ones.
    Not: on quantized bases (refused) or GPT-2 (refused: it finds nothing there), or to save parameters: it trains about
    half of the model, and starts with a singular value decomposition of every weight. The base's weights are replaced
    by their factors.
    Defaults: peft's.
    Learning rate: half of that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "osf"
    peft_type: ClassVar[str | None] = "OSF"
    learning_rate: ClassVar[float] = 2.5e-4
    quantizable: ClassVar[bool] = False


class Psoft(Passthrough):
    """The weight's main subspace is rotated, the rest stays. Two trained vectors loosen the rotation.

    Kind: orthogonal
    Formula: W' = W + B·(diag(α)·R·diag(β) - I)·A, B·A the r main singular directions of W, frozen, and R orthogonal
    (Cayley).
    Parameters: `r·(r - 1)/2 + 2·r` a layer.
    Paper: Wu et al. 2025, "Efficient Orthogonal Fine-Tuning with Principal Subspace Adaptation", arXiv:2505.11235.
    Use it: for a count that does not grow with the layer's width, with the main geometry of the weight kept.
    Not: on quantized bases (refused) or GPT-2 (refused), or at large r without `use_cayley_neumann`: a system of r
    equations is solved at every step. Starts with a singular value decomposition of every weight (`psoft_svd: lowrank`
    is cheaper).
    Defaults: peft's.
    Learning rate: that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "psoft"
    peft_type: ClassVar[str | None] = "PSOFT"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_INPUT}


class Supertuning(Passthrough):
    """Only the largest single weights of each layer are trained. With `r` a LoRA is added beside them.

    Kind: selective
    Formula: W' = W + S, S zero but for the share 1 - sparsity of entries where |W| is largest.
    Parameters: `⌊(1 - sparsity)·out·in⌋` a layer, without r.
    Paper: Ilin et al. 2026, "Super-Tuning: From Activation-Aware Pruning to Sparse Fine-Tuning", arXiv:2607.09287.
    Use it: in the place of `shira`, where the weights to train should be chosen by size and not by chance.
    Not: on quantized bases (refused), or for memory on large layers: the count grows with their area, not with their
    sides.
    Defaults: peft's.
    Learning rate: that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "supertuning"
    peft_type: ClassVar[str | None] = "SUPERTUNING"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True


class Waveft(Passthrough):
    """The update is the inverse wavelet transform of a few trained coefficients. It is FourierFT with wavelets, which
    are local.

    Kind: structured
    Formula: W' = W + scaling·IDWT₂(F), F zero but for n_frequency trained entries at random places that a seed fixes,
    all zero at the start.
    Parameters: `n_frequency` a layer.
    Paper: Bilican et al. 2025, "Exploring Sparsity for Parameter Efficient Fine Tuning Using Wavelets",
    arXiv:2505.12532.
    Use it: for a file of a chosen small size; the paper measures the personalization of image generators.
    Not: on quantized bases (refused), or where steps must be cheap: the whole update is transformed at every step
    (`use_idwt: false` leaves the transform out).
    Defaults: peft's.
    Learning rate: that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "waveft"
    peft_type: ClassVar[str | None] = "WAVEFT"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"n_frequency": IN_THE_WEIGHT}
