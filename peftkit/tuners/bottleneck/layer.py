"""Modules that carry bottleneck adapters, one class for each way an adapter sits at a module of the base model.

All hidden states are `(batch, tokens, hidden)`; the adapters work on the last axis alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from peftkit.tuners.bottleneck.config import NON_LINEARITIES, BottleneckConfig
from peftkit.tuners.bottleneck.kronecker import KroneckerLinear

NOT_MERGEABLE = (
    "bottleneck adapters are not mergeable: f in W_up f(W_down x) is not linear, keep the adapter or unload()"
)


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A module of the base model together with its adapters, each s * W_up f(W_down x).

    W_down is `(units, width)`, W_up `(width, units)`, both with bias, all float32 whatever the base's dtype: the
    input is cast to float32, the result back to the dtype of the hidden states it is added to. W_up and both biases
    start at zero, so that an untrained adapter changes nothing; W_down starts uniform with bound 1 / sqrt(width)
    (Kaiming, a = sqrt(5)), as He et al. 2022 do.
    """

    # What peft's half of the class gives, said here because peft is Any to mypy.
    active_adapters: list[str]
    get_base_layer: Callable[[], nn.Module]
    set_adapter: Callable[..., None]
    _cast_input_dtype: Callable[[torch.Tensor, torch.dtype], torch.Tensor]

    # peft finds the adapters by these names; each holds one entry per adapter name.
    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("bottleneck_activation", "bottleneck_dropout", "bottleneck_scaling")

    def __init__(self, base_layer: nn.Module, width: int) -> None:
        """Wrap `base_layer`, whose hidden states have `width` features; adapters come with `update_layer`."""
        super().__init__()
        self.base_layer = base_layer
        self.width = width
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_activation = nn.ModuleDict()
        self.bottleneck_dropout = nn.ModuleDict()
        self.bottleneck_scaling: dict[str, float] = {}

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the base layer does, with the active adapters added."""

    def update_layer(self, adapter_name: str, config: BottleneckConfig, rule: nn.Parameter | None = None) -> None:
        """Add the adapter `adapter_name`; `rule` is what its layers share, for Compacter's projections.

        Raises ValueError where `config` leaves it no units.
        """
        down, up = _projections(self.width, config, rule)
        device = next(self.get_base_layer().parameters()).device
        if not down.bias.is_meta and device.type != "meta":  # with low_cpu_mem_usage the weights come by loading
            down, up = down.to(device), up.to(device)
        self.bottleneck_down[adapter_name] = down
        self.bottleneck_up[adapter_name] = up
        self.bottleneck_activation[adapter_name] = NON_LINEARITIES[config.non_linearity]()
        self.bottleneck_dropout[adapter_name] = nn.Dropout(config.dropout)
        self.bottleneck_scaling[adapter_name] = config.effective_scaling()
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def adapters_in_use(self) -> list[str]:
        """Names of the adapters that act in `forward`: active, present here, and not disabled."""
        if self.disable_adapters:
            return []
        return [name for name in self.active_adapters if name in self.bottleneck_down]

    def delta(self, adapter_name: str, hidden: torch.Tensor) -> torch.Tensor:
        """s * W_up f(W_down hidden), `(batch, tokens, hidden)`, in the dtype of `hidden`."""
        down, up = self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name]
        inner = self.bottleneck_activation[adapter_name](
            down(self._cast_input_dtype(hidden, next(down.parameters()).dtype))
        )
        result: torch.Tensor = up(self.bottleneck_dropout[adapter_name](inner))
        return (result * self.bottleneck_scaling[adapter_name]).to(hidden.dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Raise ValueError: no weight of the base layer equals base and adapter together."""
        raise ValueError(NOT_MERGEABLE)

    def unmerge(self) -> None:
        """Raise ValueError, as `merge` does: there is never anything merged."""
        raise ValueError(NOT_MERGEABLE)

    def release(self) -> None:
        """Let go of the base model before this layer is taken out of it. Nothing to do unless a subclass holds on."""

    def __repr__(self) -> str:
        """The module's own text, marked as an adapter's as peft does."""
        return "bottleneck." + super().__repr__()


class AfterModule(BottleneckLayer):
    """Adapters after a module: h <- module(...), then h <- h + delta(h) for each active adapter in turn."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the base layer, then the adapters on its output (the first element where it returns a tuple)."""
        output = self.base_layer(*args, **kwargs)
        for name in self.adapters_in_use():
            hidden = _first(output)
            output = _with_first(output, hidden + self.delta(name, hidden))
        return output


class BesideModule(BottleneckLayer):
    """Adapters beside a module that maps hidden states to hidden states: module(x) + sum of delta(x)."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the base layer and add what the adapters make of its input."""
        # The adapters go first: a base layer may work on its input in place (the jitter noise of Mixtral does).
        deltas = [self.delta(name, hidden_states) for name in self.adapters_in_use()]
        output = self.base_layer(hidden_states, *args, **kwargs)
        for delta in deltas:
            output = _with_first(output, _first(output) + delta)
        return output


class BesideResidual(BottleneckLayer):
    """Adapters beside a feed-forward block whose second half is a module of (inner states, block input), as in BERT.

    That module computes LayerNorm(dropout(dense(inner)) + x) with x the block's input. Adding delta(x) to the block's
    output before the sum is adding it to x, so the layer passes x + sum of delta(x) on.
    """

    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the base layer with the adapters added to its residual input."""
        residual = input_tensor
        for name in self.adapters_in_use():
            residual = residual + self.delta(name, input_tensor)
        return self.base_layer(hidden_states, residual, *args, **kwargs)


class BesidePair(BottleneckLayer):
    """Adapters beside a feed-forward block of two projections without a module around them, as in BART and OPT.

    The layer wraps the second projection; a hook on the first one, the entrance, keeps the block's input x until the
    second one runs: second(...) + sum of delta(x).
    """

    def __init__(self, base_layer: nn.Module, width: int, entrance: nn.Module) -> None:
        """Wrap the second projection and listen to the first, `entrance`."""
        super().__init__(base_layer, width)
        self._block_input: torch.Tensor | None = None
        self._hook = entrance.register_forward_pre_hook(self._keep_block_input)

    def _keep_block_input(self, entrance: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if self.adapters_in_use():
            self._block_input = args[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the second projection and add what the adapters make of the block's input."""
        output = self.base_layer(*args, **kwargs)
        names = self.adapters_in_use()
        if not names:
            return output
        block_input, self._block_input = self._block_input, None  # not kept alive beyond the block
        assert block_input is not None, "the feed-forward block's first projection runs before its second"
        for name in names:
            output = output + self.delta(name, block_input).to(output.dtype)
        return output

    def release(self) -> None:
        """Take the hook off the entrance."""
        self._hook.remove()


def _projections(width: int, config: BottleneckConfig, rule: nn.Parameter | None) -> tuple[nn.Module, nn.Module]:
    """W_down and W_up with their biases. Raises ValueError where `config` leaves no units."""
    units = config.units(width)
    if rule is not None:
        down_product = KroneckerLinear(width, units, rule, config.phm_rank)
        return down_product, KroneckerLinear(units, width, rule, config.phm_rank, zero=True)
    # dtype is said here because a model loaded in bfloat16 may have set torch's default dtype.
    down = nn.Linear(width, units, dtype=torch.float32)
    up = nn.Linear(units, width, dtype=torch.float32)
    nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
    for zero in (down.bias, up.weight, up.bias):
        nn.init.zeros_(zero)
    return down, up


def _first(output: Any) -> torch.Tensor:
    """The hidden states in what a module returned: itself, or the first of a tuple."""
    hidden: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _with_first(output: Any, hidden: torch.Tensor) -> Any:
    """`output` with its hidden states replaced."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
