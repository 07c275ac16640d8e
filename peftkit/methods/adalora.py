"""AdaLoRA: LoRA in singular-value form whose rank budget moves to the layers that need it during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from peftkit.adapters import Adapter
from peftkit.contracts import Base, Hook, MethodSettings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor
    from torch.nn import Module

Steps = Annotated[int, Field(ge=0, strict=True)]


class AdaloraSettings(MethodSettings):
    """Fields of peft's AdaLoraConfig, under its names."""

    name: Literal["adalora"] = "adalora"
    init_r: Annotated[int, Field(gt=0, strict=True)] = 12
    """Rank of every layer at the start."""
    target_r: Annotated[int, Field(gt=0, strict=True)] = 8
    """Mean rank of the layers at the end."""
    tinit: Steps | None = None
    """Optimizer steps before pruning starts; 10% of all by default."""
    tfinal: Steps | None = None
    """Optimizer steps of final tuning at the reached ranks; 30% of all by default."""
    deltaT: Annotated[int, Field(gt=0, strict=True)] | None = None
    """Optimizer steps between two allocations; a hundredth of all by default."""
    beta1: Annotated[float, Field(gt=0, lt=1)] = 0.85
    """Smoothing of the sensitivity (eq. 9)."""
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.85
    """Smoothing of its uncertainty (eq. 10)."""
    orth_reg_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the regularization that keeps the singular vectors orthogonal."""
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    """Numerator of the scaling alpha/rank; 2·target_r by default, the scale that LoRA has here."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout of the adapter's input."""
    target_modules: str | list[str] | None = None
    """As for lora."""
    exclude_modules: str | list[str] | None = None
    """As for lora."""

    @model_validator(mode="after")
    def _budget_shrinks(self) -> Self:
        if self.target_r >= self.init_r:
            raise ValueError(f"target_r ({self.target_r}) must be below init_r ({self.init_r}), else nothing is pruned")
        return self

    def schedule(self, total_steps: int) -> dict[str, int]:
        """`tinit`, `tfinal` and `deltaT` in optimizer steps."""
        return {
            "tinit": total_steps // 10 if self.tinit is None else self.tinit,
            "tfinal": (total_steps * 3) // 10 if self.tfinal is None else self.tfinal,
            "deltaT": self.deltaT or max(1, total_steps // 100),
        }


class Adalora(Adapter):
    """LoRA in the form of a singular value decomposition. During training the rank budget moves to the layers that need
    it.

    Kind: low-rank
    Formula: W' = W + (alpha/r)·P·diag(lambda)·Q, lambda zero at the start and pruned by importance (alg. 1). peft
    leaves to the trainer what this class's hook does: the budget is moved after every optimizer step, knowing the real
    number of steps, and the orthogonality term (eq. 4) is added to the training loss only.
    Parameters: `init_r·(out + in + 1)` a layer at the start; target_r in the mean of the layers is left at the end.
    Paper: Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
    arXiv:2303.10512.
    Use it: when it is not known which layers matter and the adapter must be small; the record tells the ranks that were
    reached.
    Not: for short runs (the schedule needs steps to prune in; too few are refused), or where a step must be cheap: the
    importance of every rank is measured at every step.
    Defaults: 12 to 8 ranks, pruned between a tenth and seven tenths of the steps, are our choice; the smoothing and the
    weight of the orthogonality term are peft's.
    Learning rate: the paper's GLUE runs use 5e-4 to 2.2e-3 (table 8).
    """

    settings_class: ClassVar[type[MethodSettings]] = AdaloraSettings
    learning_rate: ClassVar[float] = 1e-3
    identity_at_start: ClassVar[bool] = True
    peft_type: ClassVar[str | None] = "ADALORA"
    settings: AdaloraSettings

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        from peft import AdaLoraConfig

        for objection in self.objections(total_steps):
            raise UserError(objection, ("method",))
        fields: dict[str, Any] = self.settings.model_dump(exclude={"name"}) | self.settings.schedule(total_steps)
        fields["lora_alpha"] = fields["lora_alpha"] or 2 * self.settings.target_r
        return AdaLoraConfig(total_step=total_steps, **fields)

    def attach(self, base: Base, total_steps: int) -> Module:
        model = super().attach(base, total_steps)
        for name, parameter in model.named_parameters():
            if ".ranknum." in name:  # a count, which peft unfreezes when it moves the adapter to the base's device or
                parameter.requires_grad_(False)  # dtype (0.21.2, _move_adapter_to_device_of_base_layer)
        return model

    def load(self, base: Base, folder: Path) -> Module:
        """peft makes the pruned layers anew in the base's dtype while it loads, which rounds what was saved where that
        is half precision (0.21.2, resize_modules_by_rank_pattern): the saved values are put in place again."""
        from safetensors.torch import load_file

        model = super().load(base, folder)
        saved = load_file(folder / "adapter_model.safetensors")
        for name, parameter in model.named_parameters():
            if (values := saved.get(name.removesuffix(".default"))) is not None:
                parameter.data = values.to(parameter.device)
        return model

    def objections(self, total_steps: int) -> Iterator[str]:
        times = self.settings.schedule(total_steps)
        if total_steps - times["tinit"] - times["tfinal"] < max(2, times["deltaT"]):
            yield (
                f"adalora: {total_steps} optimizer steps leave no room to prune between tinit={times['tinit']} and "
                f"tfinal={times['tfinal']} at deltaT={times['deltaT']}; train longer or lower tinit and tfinal"
            )

    def hooks(self, model: Module) -> Sequence[Hook]:
        return (BudgetHook(model, self.settings.orth_reg_weight),)

    def outcome(self, model: Any) -> dict[str, Any]:
        ranks = {
            name.removesuffix(".lora_E.default"): int((parameter != 0).sum())
            for name, parameter in model.named_parameters()
            if name.endswith("lora_E.default")
        }
        return {"final_ranks": ranks}


class BudgetHook(Hook):
    """Moves the rank budget after each optimizer step and regularizes the singular vectors."""

    def __init__(self, model: Any, orth_reg_weight: float) -> None:
        self.adalora = model.base_model
        self.config = model.peft_config["default"]
        self.weight = orth_reg_weight
        named = dict(model.named_parameters())
        self.left = [p for n, p in named.items() if "lora_B.default" in n]  # (out, r): columns orthonormal
        self.right = [p for n, p in named.items() if "lora_A.default" in n]  # (r, in): rows orthonormal

    def regularization(self) -> Tensor | None:
        """Mean over all P and Q of the Frobenius norm of PᵀP - I and QQᵀ - I, weighted (eq. 4, as peft computes it)."""
        import torch

        grams = [p.T @ p for p in self.left] + [q @ q.T for q in self.right]
        norms = [torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)) for gram in grams]
        return self.weight * torch.stack(norms).mean()

    def after_optimizer_step(self, step: int) -> None:
        self.adalora.update_and_allocate(step)

    def settled(self, step: int) -> bool:
        """Only weights at the final ranks may be kept as the best."""
        return bool(step >= self.config.total_step - self.config.tfinal)

    def state(self) -> dict[str, Any]:
        return {"rank_pattern": self.config.rank_pattern}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.config.rank_pattern = state["rank_pattern"]
