"""LoRA: low-rank updates beside frozen linear layers; DoRA, rsLoRA, PiSSA and OLoRA are fields of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from peftkit.adapters import Adapter
from peftkit.contracts import Base, MethodSettings

if TYPE_CHECKING:
    from peft import PeftConfig


class LoraSettings(MethodSettings):
    """Fields of peft's LoraConfig, under its names."""

    name: Literal["lora"] = "lora"
    r: Annotated[int, Field(gt=0, strict=True)] = 8
    """Rank of the update."""
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    """Numerator of the scaling alpha/r (alpha/sqrt(r) with use_rslora); 2·r by default."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout of the adapter's input."""
    target_modules: str | list[str] | None = None
    """Suffixes or a regular expression of module names, or all-linear; by default what peft's table names for the
    architecture, and all linear layers where it names none."""
    exclude_modules: str | list[str] | None = None
    """Suffixes or a regular expression of modules to leave out."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases are trained too."""
    use_rslora: bool = False
    """Scale by alpha/sqrt(r) (Kalajdzievski 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Train magnitude and direction apart (Liu et al. 2024, arXiv:2402.09353)."""
    init_lora_weights: bool | Literal["gaussian", "pissa", "olora"] = True
    """How A and B begin; true is Kaiming for A and zero for B."""
    layers_to_transform: list[int] | None = None
    """Numbers of the layers that get an adapter; all by default."""
    layers_pattern: str | None = None
    """Name of the list of layers in the model, where layers_to_transform needs it."""
    rank_pattern: dict[str, int] = {}
    """Ranks of single modules: pattern → r."""
    alpha_pattern: dict[str, float] = {}
    """Alphas of single modules: pattern → lora_alpha."""


class Lora(Adapter):
    """W' = W + (alpha/r)·B·A with W frozen, B zero at the start (Hu et al. 2021, arXiv:2106.09685, eq. 3).

    Defaults r=8, alpha=16 and learning rate 5e-4 are those of the paper's RoBERTa runs (table 9), which range from
    4e-4 to 5e-4.
    """

    settings_class: ClassVar[type[MethodSettings]] = LoraSettings
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    peft_type: ClassVar[str | None] = "LORA"

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        from peft import LoraConfig

        assert isinstance(self.settings, LoraSettings)
        fields: dict[str, Any] = self.settings.model_dump(exclude={"name"})
        fields["lora_alpha"] = fields["lora_alpha"] or 2 * self.settings.r
        return LoraConfig(**fields)

    def starts_as_base(self) -> bool:
        """With B zero; PiSSA and OLoRA take their factors out of the base's weights, exact to rounding only."""
        assert isinstance(self.settings, LoraSettings)
        return self.settings.init_lora_weights in (True, "gaussian")
