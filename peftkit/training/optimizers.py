"""How trained weights move: AdamW, and the optimizers that treat the two factors of a low-rank update apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.contracts import Factors
from peftkit.recipe import Training

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer


class Optimization(ABC):
    """One value of ``training.optim``, bound to the training settings and to what the method calls its factors."""

    needs_factors: ClassVar[bool] = True
    """Whether it is for methods with factors alone; recipes are held to it."""

    def __init__(self, training: Training, factors: Sequence[Factors]) -> None:
        self.training = training
        self.factors = factors

    def freeze(self) -> None:
        """Takes what it never moves out of what is trained, before anything counts or checks that; most move all."""

    @abstractmethod
    def optimizer(self, model: Module, learning_rate: float) -> Optimizer:
        """torch's optimizer over what is trained in `model`; `learning_rate` is the first group's, at its peak.

        Its state is torch's own (``state_dict``) and all that a resumed run needs.
        """


class Adamw(Optimization):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101, alg. 2), one rate for all."""

    needs_factors: ClassVar[bool] = False

    def optimizer(self, model: Module, learning_rate: float) -> Optimizer:
        return adamw(self.training, model, learning_rate)


class Loraplus(Optimization):
    """LoRA+: AdamW with the rate of every B at ``loraplus_lr_ratio`` times that of A (Hayou et al. 2024,
    arXiv:2402.12354, alg. 1).

    Everything else, the head too, moves at the rate of A. peft's `create_loraplus_optimizer` gives one-dimensional
    weights, such as the head's bias, the rate of B; the paper has no ground for that, and it is not done here.
    """

    def optimizer(self, model: Module, learning_rate: float) -> Optimizer:
        faster = {id(pair.up): self.training.loraplus_lr_ratio for pair in self.factors}
        return adamw(self.training, model, learning_rate, faster)


class Lorafa(Optimization):
    """LoRA-FA: A stays as it began, and AdamW moves B by the gradient (1/s²)·G·(A·Aᵀ)⁻¹, G that of B (Zhang et al.
    2023, arXiv:2308.03303, section 3; s the scaling).

    Then s·ΔB·A is the update within the rows of A that is nearest to the gradient of W itself. A layer whose A has
    dependent rows (r above its inputs) takes the pseudo-inverse. As in peft's `create_lorafa_optimizer`, which rounds
    the product to bfloat16; here it has B's own precision. Gradients are clipped before, as they come.
    """

    def freeze(self) -> None:
        for pair in self.factors:
            pair.down.requires_grad_(False)

    def optimizer(self, model: Module, learning_rate: float) -> Optimizer:
        made = adamw(self.training, model, learning_rate)
        made.register_step_pre_hook(Projection(self.factors))  # after fp16's unscaling, before the moments see it
        return made


class Projection:
    """The gradients of every B, multiplied by (1/s²)·(A·Aᵀ)⁻¹ before each step.

    A is frozen, so the inverses are made once: at the first step, when a resumed run has its A in place.
    """

    def __init__(self, factors: Sequence[Factors]) -> None:
        self.factors = factors
        self.inverses: list[Tensor] | None = None

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.inverses is None:
            self.inverses = [_inverse(pair) for pair in self.factors]
        for pair, inverse in zip(self.factors, self.inverses, strict=True):
            if pair.up.grad is not None:
                pair.up.grad.copy_(pair.up.grad @ inverse)


def _inverse(pair: Factors) -> Tensor:
    """(1/s²)·(A·Aᵀ)⁻¹, ``(r, r)``, computed in float64."""
    import torch

    with torch.no_grad():
        down = pair.down.double()
        inverse: Tensor = torch.linalg.pinv(down @ down.T, hermitian=True) / pair.scaling**2
        return inverse.to(pair.up.dtype)


OPTIMIZERS: dict[str, type[Optimization]] = {"adamw": Adamw, "loraplus": Loraplus, "lorafa": Lorafa}
"""By the names of ``training.optim``; those of LoRA+ and LoRA-FA are peft's (`peft.optimizers`)."""


def optimization(training: Training, factors: Sequence[Factors]) -> Optimization:
    """What the recipe asks for, with what it holds still frozen."""
    chosen = OPTIMIZERS[training.optim](training, factors)
    chosen.freeze()
    return chosen


def adamw(
    training: Training, model: Module, learning_rate: float, faster: Mapping[int, float] | None = None
) -> Optimizer:
    """torch's AdamW over what is trained in `model`; `faster` are factors of the rate by the identity of a parameter.

    A group for every rate, the lowest first, and in it one with weight decay and one without: biases and other
    one-dimensional weights are not decayed.
    """
    import torch

    groups: dict[tuple[float, bool], list[Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or name.endswith("bias")
            groups.setdefault(((faster or {}).get(id(parameter), 1.0), plain), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": groups[ratio, plain],
                "lr": learning_rate * ratio,
                "weight_decay": 0.0 if plain else training.weight_decay,
            }
            for ratio, plain in sorted(groups)
        ],
        lr=learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
    )
