"""Low-rank tuners of peft that need nothing but their own fields: through the generic passthrough alone.

Their learning rates follow peft's method comparison (method_comparison/MetaMathQA in its repository) as multiples of
the rate that it gives LoRA, 1e-4 on Llama 3.2 3B, where `lora` here has 5e-4; a class says so where it does not.
None of them is released for quantized bases: most fail there, some take packed integers for weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from peftkit.adapters import IN_THE_LAYER, Passthrough, Size


class Adamss(Passthrough):
    """Each weight's main singular directions are clustered into a few subspaces, and each of these gets a low-rank
    update of its own. peft's allocation of subspaces during training (`use_asa`) needs a callback that is not called
    here.

    Kind: low-rank
    Formula: the rows of cluster k get ΔW_k = B_k·A_k·V, V of the min(r, in, out) main directions of W, frozen.
    Parameters: `subspace_rank·(num_subspaces·min(r, in + 1, out) + out)` a layer, in + 1 being in where the layer has
    no bias.
    Paper: Zheng et al. 2025, "AdaMSS: Adaptive Multi-Subspace Approach for Parameter-Efficient Fine-Tuning", NeurIPS,
    openreview 8ZdWmpYxT0.
    Use it: with some hundreds of parameters a layer on encoders and vision models, which the paper measures.
    Not: on quantized bases (refused), or where starting must be quick: a singular value decomposition and a clustering
    of every targeted weight come first.
    Defaults: peft's.
    Learning rate: that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "adamss"
    peft_type: ClassVar[str | None] = "ADAMSS"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False


class Deft(Passthrough):
    """A part of the weight, told by a low-rank projection, is taken out and replaced by another one. It was made for
    image generation, to learn a new concept and forget little.

    Kind: low-rank
    Formula: W' = (I - P·relu(P)ᵀ)·W + P·R, R such that W' = W at the start; with `decomposition_method: qr` an
    orthogonal projection.
    Parameters: `r·(out + in)` a layer.
    Paper: Kumar et al. 2025, "DEFT: Decompositional Efficient Fine-Tuning for Text-to-Image Models", arXiv:2509.22793.
    Use it: where a new concept has to be learnt from few examples and the rest should stay.
    Not: on quantized bases (refused): there it reads packed integers as weights, without a word; and its text results
    are few.
    Defaults: peft's.
    Learning rate: that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "deft"
    peft_type: ClassVar[str | None] = "DEFT"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Delora(Passthrough):
    """LoRA whose directions are normalized and whose strength is one trained number a layer. The change of a weight is
    bounded, which makes long training and high rates safer.

    Kind: low-rank
    Formula: W' = W + ‖W‖·(lambda/r)·Σᵢ bᵢ·aᵢᵀ/(‖bᵢ‖·‖aᵢ‖), ‖W‖ by input.
    Parameters: `r·(out + in) + 1` a layer.
    Paper: Bini et al. 2025, "Decoupling Angles and Strength in Low-rank Adaptation", arXiv:2503.18225.
    Use it: where LoRA diverges or a good learning rate is not known.
    Not: on quantized bases (refused) or GPT-2 (refused). `delora_lambda: 0` trains nothing, and peft takes it.
    Defaults: peft's.
    Learning rate: that of `lora`, as in peft's comparison; peft's page on it advises 10 to 100 times LoRA's, so try
    higher.
    """

    name: ClassVar[str] = "delora"
    peft_type: ClassVar[str | None] = "DELORA"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Gralora(Passthrough):
    """The weight is cut into gralora_k × gralora_k blocks, each with a small LoRA of its own. As many parameters as
    LoRA, at gralora_k times its rank, and outliers in some inputs disturb their own blocks only.

    Kind: low-rank
    Formula: block (i, j) of W' is W_ij + (alpha/r)·B_ij·A_ij, of rank r/gralora_k.
    Parameters: `r·(out + in)` a layer, as many as LoRA; hybrid_r adds a plain LoRA of that rank.
    Paper: Jung et al. 2025, "GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning",
    arXiv:2505.20355.
    Use it: at ranks of 64 and more, where LoRA stops gaining.
    Not: on quantized bases (refused), or where gralora_k divides neither r nor the sides of the layers.
    Defaults: peft's.
    Learning rate: twice that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "gralora"
    peft_type: ClassVar[str | None] = "GRALORA"
    learning_rate: ClassVar[float] = 1e-3
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True


class Peanut(Passthrough):
    """A small network with a non-linearity computes the update from the weight itself. What it adds is no linear
    function of its parameters, and richer than a low rank.

    Kind: low-rank
    Formula: W' = W + scaling·(f(Wᵀ·Aᵀ)·Bᵀ)ᵀ, f relu by default with depth more pairs of layers inside, B zero at the
    start.
    Parameters: `2·r·out + 2·depth·r²` a layer.
    Paper: Zhong et al. 2024, "PEANuT: Parameter-Efficient Adaptation with Weight-aware Neural Tweakers",
    arXiv:2410.01870.
    Use it: with a very small budget of parameters, around 0.2 million, where peft's page on it sees it ahead.
    Not: on quantized bases (refused): there it reads packed integers as weights; on GPT-2 (refused); or where memory
    and time are short: the update is formed whole at every step, slower than LoRA in training and until it is merged.
    Defaults: peft's.
    Learning rate: that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "peanut"
    peft_type: ClassVar[str | None] = "PEANUT"
    learning_rate: ClassVar[float] = 5e-4
    quantizable: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Pvera(Passthrough):
    """VeRA with a distribution over what passes its first matrix, drawn from in training. `sample_at_inference` draws
    when predicting too.

    Kind: low-rank
    Formula: y = W·x + b ⊙ B·z, z drawn from N(μ, σ²), (μ, log σ²) = d ⊙ A·x, A and B random, frozen and shared.
    Parameters: `2·r + out` a layer.
    Paper: Fillioux et al. 2025, "PVeRA: Probabilistic Vector-Based Random Matrix Adaptation", arXiv:2512.07703.
    Use it: in VeRA's place where noise in training helps, such as with few rows; the paper measures images.
    Not: on quantized bases (refused), or for a small file: the random matrices are saved too, as with `vera`.
    Defaults: peft's.
    Learning rate: that of `vera`.
    """

    name: ClassVar[str] = "pvera"
    peft_type: ClassVar[str | None] = "PVERA"
    learning_rate: ClassVar[float] = 1e-2
    quantizable: ClassVar[bool] = False


class Tinylora(Passthrough):
    """A few trained numbers a layer weigh fixed random matrices between the main singular directions of the weight.
    With `weight_tying` layers share them, down to one vector for the model.

    Kind: low-rank
    Formula: W' = W + B·(Σᵢ vᵢ·Pᵢ)·A, B and A from the r main singular directions of W, P random, v trained.
    Parameters: `u` a layer, without weight_tying.
    Paper: Morris et al. 2026, "Learning to Reason in 13 Parameters", arXiv:2602.04118.
    Use it: for adapters of a few bytes; the paper's results come from reinforcement learning on large language models.
    Not: on quantized bases (refused), for supervised training on small models, or where starting must be quick (a
    singular value decomposition of every weight).
    Defaults: peft's.
    Learning rate: ten times that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "tinylora"
    peft_type: ClassVar[str | None] = "TINYLORA"
    learning_rate: ClassVar[float] = 5e-3
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}


class Unilora(Passthrough):
    """Every entry of all LoRA matrices points into one trained vector, at places that a seed fixes. What is stored is
    that vector alone.

    Kind: low-rank
    Formula: W' = W + B·A, each entry of A and B one of theta's, divided by the root of how often that is used; it does
    not start at the base's output exactly.
    Parameters: `theta_d_length` once.
    Paper: Li et al. 2025, "Uni-LoRA: One Vector is All You Need", arXiv:2506.00799.
    Use it: for the smallest file at a chosen size, whatever the model.
    Not: on quantized bases (refused), or with peft's length of 256 on a hard task: raise theta_d_length.
    Defaults: peft's.
    Learning rate: twenty times that of `lora`, as in peft's comparison.
    """

    name: ClassVar[str] = "unilora"
    peft_type: ClassVar[str | None] = "UNILORA"
    learning_rate: ClassVar[float] = 1e-2
    quantizable: ClassVar[bool] = False
    sizes: ClassVar[Mapping[str, Size]] = {"r": IN_THE_LAYER}
