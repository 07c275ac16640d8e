"""Sizes of an adapter that must fit the layers it goes to: chosen from the model where the user gave none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from math import gcd, isqrt
from typing import TYPE_CHECKING, Any

from peftkit.adapters.targets import resolve_targets
from peftkit.contracts import Base
from peftkit.errors import UserError

if TYPE_CHECKING:
    from torch.nn import Module

Shape = tuple[int, int]
"""A linear layer's ``(out, in)``."""


class Size(ABC):
    """What the layers allow a size to be."""

    @abstractmethod
    def fitting(self, shapes: Sequence[Shape]) -> Sequence[int]:
        """Every value that fits all of `shapes`, in ascending order."""


@dataclass(frozen=True)
class AtMost(Size):
    """No larger than `bound` of any layer."""

    bound: Callable[[int, int], int]
    """The largest value for a layer, of its ``out, in``."""

    def fitting(self, shapes: Sequence[Shape]) -> Sequence[int]:
        return range(1, min(self.bound(*shape) for shape in shapes) + 1)


@dataclass(frozen=True)
class Divides(Size):
    """A divisor of `widths` of every layer, and a multiple of `multiple_of`."""

    widths: Callable[[int, int], tuple[int, ...]]
    """The widths to divide, of a layer's ``out, in``."""
    multiple_of: int = 1
    least: int = 1
    """Below it the adapter would hold nothing to train."""

    def fitting(self, shapes: Sequence[Shape]) -> Sequence[int]:
        common = gcd(*(width for shape in shapes for width in self.widths(*shape)))
        below = [number for number in range(1, isqrt(common) + 1) if common % number == 0]
        divisors = sorted({*below, *(common // number for number in below)})
        return [number for number in divisors if number % self.multiple_of == 0 and number >= self.least]


IN_THE_LAYER = AtMost(lambda out, in_: min(out, in_))
"""A rank: above the smaller side of a layer it buys nothing."""
IN_THE_INPUT = AtMost(lambda out, in_: in_)
IN_THE_WEIGHT = AtMost(lambda out, in_: out * in_)
"""A count of single weights."""
OF_BOTH_SIDES = Divides(lambda out, in_: (out, in_))
OF_THE_INPUT = Divides(lambda out, in_: (in_,), least=2)


def fitted(
    rules: Mapping[str, Size], given: Mapping[str, int | None], usual: Mapping[str, int], shapes: Sequence[Shape]
) -> dict[str, int]:
    """The sizes to use: those given, and for each of `rules` without one the largest that fits, up to the usual one.

    Raises:
        UserError: a given size does not fit the layers; names those that do.
    """
    chosen = {field: value for field, value in given.items() if value is not None}
    for field, rule in rules.items() if shapes else ():
        fitting = rule.fitting(shapes)
        if field in chosen:
            if chosen[field] not in fitting:
                raise UserError(_misfit(f"{field}={chosen[field]} does not fit", fitting, shapes), ("method", field))
        elif field in usual:
            small = [number for number in fitting[: usual[field]] if number <= usual[field]]
            if not small:
                raise UserError(_misfit(f"no {field} up to {usual[field]} fits", fitting, shapes), ("method", field))
            chosen[field] = small[-1]
    return chosen


def _misfit(what: str, fitting: Sequence[int], shapes: Sequence[Shape]) -> str:
    """``block_size=7 does not fit the targeted layers (out x in: 32x32, 64x32); what fits: 1, 2, 4``."""
    layers = ", ".join(f"{out}x{in_}" for out, in_ in sorted(set(shapes)))
    fits = f"1 to {fitting[-1]}" if isinstance(fitting, range) and fitting else ", ".join(map(str, fitting))
    return f"{what} the targeted layers (out x in: {layers}); what fits: {fits or 'nothing'}"


def targeted_shapes(config: Any, base: Base) -> list[Shape]:
    """The ``(out, in)`` of every linear layer that `config` would put an adapter on, the head left out."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import check_target_module_exists

    asked = copy(config)
    asked.modules_to_save = list(base.head) or None
    asked.target_modules = resolve_targets(config, base)
    if asked.target_modules is None:
        table = getattr(PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type], "target_module_mapping", {})
        asked.target_modules = table.get(base.model.config.model_type, ())
    shaped = ((name, shape) for name, module in base.model.named_modules() for shape in _shape(module))
    return [shape for name, shape in shaped if check_target_module_exists(asked, name)]


def _shape(module: Module) -> Iterator[Shape]:
    """A linear layer's ``(out, in)``, quantized or not; nothing for other modules."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Linear):
        yield module.out_features, module.in_features
    elif isinstance(module, Conv1D):
        yield module.nf, module.nx
