"""Bottleneck adapters: small two-layer networks with a residual inside every transformer layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from peftkit.adapters import Adapter
from peftkit.contracts import Base, MethodSettings

if TYPE_CHECKING:
    from peft import PeftConfig


class BottleneckSettings(MethodSettings):
    """Fields of BottleneckConfig, the tuner that peftkit registers with peft."""

    name: Literal["bottleneck"] = "bottleneck"
    variant: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    """After attention and feed-forward, after feed-forward only, or beside the feed-forward."""
    reduction_factor: Annotated[float, Field(gt=0)] = 16
    """Hidden size over bottleneck size."""
    non_linearity: Literal["relu", "leaky_relu", "gelu", "silu", "tanh"] = "relu"
    """The function between the two projections."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout inside the bottleneck, before the projection up."""
    scaling: Annotated[float, Field(gt=0)] | None = None
    """Factor of the adapter's output; 4 for parallel, else 1."""
    phm_dim: Annotated[int, Field(ge=2, strict=True)] | None = None
    """Number n of Kronecker products that each projection is the sum of, as in Compacter; plain matrices by default."""
    phm_rank: Annotated[int, Field(gt=0, strict=True)] = 1
    """With phm_dim, the rank of each product's second factor."""
    target_modules: str | list[str] | None = None
    """Modules to put adapters behind (beside, for parallel); by default found from the architecture."""
    exclude_modules: str | list[str] | None = None
    """Suffixes or a regular expression of modules to leave out."""

    @model_validator(mode="after")
    def _rank_goes_with_products(self) -> Self:
        if self.phm_rank > 1 and self.phm_dim is None:
            raise ValueError("phm_rank goes with phm_dim")
        return self


class Bottleneck(Adapter):
    """Small networks of two layers with a residual are put into every transformer layer. peft lacks them; peftkit
    registers them as a tuner of its own.

    Kind: bottleneck
    Formula: h' = h + s·W_up·f(W_down·h), W_up zero at the start.
    Parameters: `2·hidden·b + b + hidden` an adapter, b = hidden/reduction_factor; one adapter a layer, two with
    `variant: houlsby`.
    Paper: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751; Pfeiffer et al. 2021,
    "AdapterFusion: Non-Destructive Task Composition for Transfer Learning", arXiv:2005.00247; parallel: He et al. 2022,
    "Towards a Unified View of Parameter-Efficient Transfer Learning", arXiv:2110.04366.
    Use it: on encoders, where the adapters literature was written, on quantized bases too, and where a function of the
    activations with a non-linearity is wanted in place of a change of weights.
    Not: where it has to be merged: it stays in the model and costs time at every prediction; and not where others must
    load it without peftkit.
    Defaults: the places of Pfeiffer et al. and their reduction factor of 16.
    Learning rate: within the 3e-5 to 3e-3 that Houlsby et al. search (section 3.2).
    Variant Compacter: `phm_dim: 4`. W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ) for each projection, i to n = phm_dim, the n × n matrices Aᵢ
    shared by all layers: `2·phm_rank·(hidden + b) + b + hidden` an adapter and n³ once, so a small part of what is said
    above. Compacter with `variant: houlsby`, Compacter++ with `pfeiffer`; n must divide hidden and b; the authors'
    configurations train it at 3e-3 (Karimi Mahabadi et al. 2021, "Compacter: Efficient Low-Rank Hypercomplex Adapter
    Layers", arXiv:2106.04647).
    """

    settings_class: ClassVar[type[MethodSettings]] = BottleneckSettings
    learning_rate: ClassVar[float] = 1e-3
    identity_at_start: ClassVar[bool] = True
    peft_type: ClassVar[str | None] = "BOTTLENECK"
    mergeable: ClassVar[bool] = False  # a function with a non-linearity inside is no weight

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        from peftkit.tuners import BottleneckConfig

        fields: dict[str, Any] = self.settings.model_dump(exclude={"name"})
        return BottleneckConfig(**fields)
