"""LoRA: low-rank updates beside frozen linear layers; DoRA, rsLoRA, PiSSA, OLoRA, EVA and LoftQ are fields of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from peftkit.adapters import Adapter
from peftkit.adapters.eva import EvaSettings, start_from_inputs
from peftkit.adapters.loftq import start_from_quantization_error
from peftkit.contracts import Base, Batch, Factors, MethodSettings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch.nn import Module


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
    init_lora_weights: bool | Literal["gaussian", "pissa", "olora", "eva", "loftq"] = True
    """How A and B begin; true is Kaiming for A and zero for B. ``eva`` looks at the first batches of the training rows;
    ``loftq`` makes up for what quantization took from the weights, in one step at the base's bits."""
    eva_config: EvaSettings | None = None
    """With ``init_lora_weights: eva``, fields of peft's EvaConfig."""
    layers_to_transform: list[int] | None = None
    """Numbers of the layers that get an adapter; all by default."""
    layers_pattern: str | None = None
    """Name of the list of layers in the model, where layers_to_transform needs it."""
    rank_pattern: dict[str, int] = {}
    """Ranks of single modules: pattern → r."""
    alpha_pattern: dict[str, float] = {}
    """Alphas of single modules: pattern → lora_alpha."""

    @model_validator(mode="after")
    def _starts_go_together(self) -> Self:
        if self.eva_config is not None and self.init_lora_weights != "eva":
            raise ValueError("eva_config goes with init_lora_weights: eva")
        if self.init_lora_weights == "loftq" and self.use_dora:
            raise ValueError("use_dora takes its magnitudes before loftq sets A and B; use one of them")
        return self


class Lora(Adapter):
    """A trained matrix of low rank is added to each chosen linear layer, whose own weight stays frozen. After training
    it can be folded into the weight, so that the model is as fast as before.

    Kind: low-rank
    Formula: W' = W + (alpha/r)·B·A, A of r × in, B of out × r and zero at the start (eq. 3).
    Parameters: `r·(out + in)` a layer.
    Paper: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
    Use it: first. It works on every architecture, task and quantized base here, most serving software reads it, it
    merges exactly, and it is among the fastest.
    Not: where a much smaller file is wanted (`vera`, `ia3`, `vblora`), or where the update must have full rank
    (`randlora`, `c3a`, `shira`, `full`). By default it reaches what peft's table names for the architecture, often
    query and value alone; `target_modules: all-linear` reaches more and costs more.
    Defaults: r and alpha = 2·r are those of the paper's RoBERTa runs (table 9).
    Learning rate: the upper end of 4e-4 to 5e-4 in those runs.
    Variant DoRA: `use_dora: true`. W' = m ⊙ (W + (alpha/r)·B·A) / ‖W + (alpha/r)·B·A‖, the norm of each row and m
    trained: out more parameters a layer. Nearer to full fine-tuning at low ranks; 1.6 times LoRA's time a step in
    peft's comparison, and not on 8-bit weights (Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation",
    arXiv:2402.09353).
    Variant rsLoRA: `use_rslora: true`. The scaling is alpha/√r in place of alpha/r, which keeps ranks of 64 and more
    learning; lower the learning rate or alpha with it (Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for
    Fine-Tuning with LoRA", arXiv:2312.03732).
    Variant PiSSA: `init_lora_weights: pissa`. With W = U·S·Vᵀ, B·A begins as the r largest singular directions and W
    keeps the rest, so that training moves what matters most: faster at the start. The frozen weights are changed: with
    the adapter off the model is not the base; not on quantized weights (Meng et al. 2024, "PiSSA: Principal Singular
    Values and Singular Vectors Adaptation of Large Language Models", arXiv:2404.02948).
    Variant OLoRA: `init_lora_weights: olora`. With W = Q·R, B and A begin as the first r columns of Q and rows of R,
    and W keeps the rest. As PiSSA in what it changes, with a cheaper decomposition; not on GPT-2's layers (Büyükakyüz
    2024, "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models", arXiv:2406.01775).
    Variant LoftQ: `init_lora_weights: loftq`, on a quantized base only. (alpha/r)·B·A begins as the best approximation
    of rank r of W - Q, Q the quantized W: the model begins nearer to the base before quantization. The original weights
    are read once more for it (Li et al. 2023, "LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models",
    arXiv:2310.08659).
    Variant EVA: `init_lora_weights: eva`. A begins as the directions in which the layer's inputs vary most, found from
    the first batches of the training rows, and ranks go to the layers where they explain most; B is zero. Costs forward
    passes before training, no more during it (Paischer et al. 2024, "One Initialization to Rule them All: Fine-tuning
    via Explained Variance Adaptation", arXiv:2410.07170).
    Variant LoRA+: `training.optim: loraplus`. B learns at `loraplus_lr_ratio` times the rate of A; the weights are
    LoRA's, and so is the cost (Hayou et al. 2024, "LoRA+: Efficient Low Rank Adaptation of Large Models",
    arXiv:2402.12354).
    Variant LoRA-FA: `training.optim: lorafa`. A stays as it began and B moves by (1/s²)·G·(A·Aᵀ)⁻¹, G its gradient and
    s the scaling: r·out trained parameters, and less memory for gradients and moments (Zhang et al. 2023, "LoRA-FA:
    Memory-efficient Low-rank Adaptation for Large Language Models Fine-tuning", arXiv:2308.03303).
    """

    settings_class: ClassVar[type[MethodSettings]] = LoraSettings
    learning_rate: ClassVar[float] = 5e-4
    identity_at_start: ClassVar[bool] = True
    factored: ClassVar[bool] = True
    peft_type: ClassVar[str | None] = "LORA"
    settings: LoraSettings

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        from peft import EvaConfig, LoraConfig

        fields: dict[str, Any] = self.settings.model_dump(exclude={"name", "eva_config"})
        fields["lora_alpha"] = fields["lora_alpha"] or 2 * self.settings.r
        if fields["init_lora_weights"] == "eva":
            fields["eva_config"] = EvaConfig(**self._eva().model_dump())
        if fields["init_lora_weights"] == "loftq":
            fields["init_lora_weights"] = True  # `attach` does it; peft would again, and not on a CPU, at every load
        return LoraConfig(**fields)

    def attach(self, base: Base, total_steps: int) -> Module:
        loftq = self.settings.init_lora_weights == "loftq"
        if loftq and base.unquantized is None and base.model.device.type != "meta":
            what = "the checkpoint holds quantized weights only" if base.bits else "the base is not quantized"
            raise UserError(f"init_lora_weights: loftq needs the weights from before and after: {what}", ("method",))
        model = super().attach(base, total_steps)
        if loftq and base.unquantized is not None:
            start_from_quantization_error(model, base.unquantized())
        return model

    def initialize(self, model: Module, batches: Sequence[Batch]) -> None:
        if self.settings.init_lora_weights == "eva":
            ranks = (self.settings.r, *self.settings.rank_pattern.values())
            start_from_inputs(model, batches, most=round(max(ranks) * self._eva().rho))

    def factors(self, model: Module) -> Sequence[Factors]:
        """A and B of linear layers. Those of embeddings, whose inputs are no vectors, move as everything else does."""
        from peft.tuners.lora import LoraLayer

        layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
        pairs = [
            Factors(layer.lora_B["default"].weight, layer.lora_A["default"].weight, layer.scaling["default"])
            for layer in layers
            if "default" in layer.lora_A
        ]
        return [pair for pair in pairs if pair.up.ndim == 2]

    def starts_as_base(self) -> bool:
        """With B zero. PiSSA and OLoRA take their factors out of the base's weights, exact to rounding only; LoftQ
        begins nearer to the base before it was quantized."""
        return self.settings.init_lora_weights in (True, "gaussian", "eva")

    def unfit(self, bits: Literal[4, 8] | None) -> str | None:
        start = self.settings.init_lora_weights
        if start == "loftq" and bits is None:
            return (
                "init_lora_weights: loftq makes up for quantization; give quantization: 4bit or 8bit, or leave it out"
            )
        if start == "pissa" and bits is not None:
            return f"init_lora_weights: pissa decomposes the weights and cannot in {bits} bits; use true, eva or loftq"
        if self.settings.use_dora and bits == 8:
            return "use_dora fails on 8-bit weights (peft 0.21.2); use quantization: 4bit or none, or use_dora: false"
        return None

    def outcome(self, model: Any) -> dict[str, Any]:
        """The ranks of layers that have another than r, and the layers that EVA gave none are not among the targets."""
        if self.settings.init_lora_weights != "eva":
            return {}
        return {"ranks": dict(model.peft_config["default"].rank_pattern)}

    def _eva(self) -> EvaSettings:
        return self.settings.eva_config or EvaSettings()
