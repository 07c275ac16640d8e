"""Bottleneck adapters: small two-layer networks with a residual inside every transformer layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

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
    target_modules: str | list[str] | None = None
    """Modules to put adapters behind (beside, for parallel); by default found from the architecture."""
    exclude_modules: str | list[str] | None = None
    """Suffixes or a regular expression of modules to leave out."""


class Bottleneck(Adapter):
    """h + s·W_up·f(W_down·h), W_up zero at the start (Houlsby et al. 2019, arXiv:1902.00751; Pfeiffer et al. 2021,
    arXiv:2005.00247; parallel: He et al. 2022, arXiv:2110.04366).

    Learning rate 1e-3: within the 3e-5 to 3e-3 that Houlsby et al. search (section 3.2).
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
