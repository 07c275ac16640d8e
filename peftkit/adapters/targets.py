"""Which modules an adapter goes to: resolved before peft sees them, so that a wrong pattern is told plainly."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Base
from peftkit.errors import UserError, suggest

if TYPE_CHECKING:
    from torch.nn import Module

ALL_LINEAR = "all-linear"
"""peft's word for every linear layer outside the head."""
NO_TARGETS = "dummy-target-modules"
"""peft's word for an adapter that injects no layers and carries `modules_to_save` or biases only."""
HEAD_PARTS = re.compile(r"\.(original_module|modules_to_save)(\.|$)")
"""How peft names the frozen original of a trained head and the copy that is trained."""


def resolve_targets(config: Any, base: Base) -> Any:
    """`target_modules` that surely match: the given ones, else peft's own choice, else all linear layers.

    Returns None where the tuner itself knows its places in this architecture.

    Raises:
        UserError: a given pattern matches nothing; names the layers there are.
    """
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    given = config.target_modules
    if given == ALL_LINEAR:
        return [name for name, _ in _outside_head(base)]
    if given is not None:
        _refuse_unmatched(given, base)
        return given
    table = getattr(PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type], "target_module_mapping", {})
    if not table or base.model.config.model_type in table:
        return None
    return [name for name, _ in _outside_head(base)]


def coverage(model: Any, given: Any = None, targeted: Sequence[str] | None = None) -> dict[str, Any]:
    """Where the adapter is, as JSON data; `given` is the recipe's own ``target_modules``.

    `targeted` are the targets' names where they are not those of the outermost adapter alone.

    ``targeted_modules`` are their full names; ``targets_by`` says who chose them (``recipe``, ``peft`` or
    ``all-linear``, for an architecture that peft's table does not know); ``targets_by_pattern`` has what each pattern
    reached, numbered layers taken together. Shares leave the head out: of the linear layers that are targets or lie
    inside one, and of the base's parameters that the targets hold.
    """
    targeted = sorted(getattr(model.base_model, "targeted_module_names", ()) if targeted is None else targeted)
    inside = tuple(f"{name}." for name in targeted)
    linears = {
        name.replace(".base_layer", "")
        for name, _ in _linear_modules(model.get_base_model())
        if (".base_layer" in name or not name.startswith(inside)) and not HEAD_PARTS.search(name)
    }
    covered = [name for name in linears if f"{name}.".startswith(inside)]
    sizes = _base_sizes(model, inside)
    held = sum(size for name, size in sizes.items() if name.startswith(inside))
    chosen_by, patterns = _patterns(model, given)
    matched = {pattern: [name for name in targeted if _matches(pattern, name)] for pattern in patterns}
    return {
        "targeted_modules": targeted,
        "targets_by": chosen_by if targeted else None,
        "targets_by_pattern": {pattern: collapsed(names) for pattern, names in matched.items() if names},
        "targeted_linear_share": len(covered) / len(linears) if linears else None,
        "targeted_parameter_share": held / total if (total := sum(sizes.values())) else None,
    }


def collapsed(names: Iterable[str]) -> list[str]:
    """Names that differ in a number alone as one: ``encoder.layer.0-11.attention.self.query``, sorted.

    Gaps stay visible (``layer.0-2,5``), and of several numbers each is taken for itself (``layer.0-1.experts.0-7``).
    """
    parts = sorted({tuple(name.split(".")) for name in names})
    for place in reversed(range(max(map(len, parts), default=0))):
        groups: dict[tuple[str, ...], list[int]] = {}
        for name in parts:
            number = name[place] if place < len(name) else ""
            numbers = groups.setdefault((*name[:place], "#", *name[place + 1 :]) if number.isdigit() else name, [])
            numbers += [int(number)] if number.isdigit() else []
        parts = [
            (*name[:place], _ranges(numbers), *name[place + 1 :]) if numbers else name
            for name, numbers in groups.items()
        ]
    return sorted(".".join(name) for name in parts)


def _ranges(numbers: Iterable[int]) -> str:
    """``0-2,5`` for 0, 1, 2 and 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _patterns(model: Any, given: Any) -> tuple[str, list[str]]:
    """Who chose the targets, and by which patterns."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    if given is not None:
        return "recipe", [given] if isinstance(given, str) else list(given)
    config = next(iter(model.peft_config.values()))
    table = getattr(PEFT_TYPE_TO_TUNER_MAPPING.get(config.peft_type), "target_module_mapping", {})
    if table and model.get_base_model().config.model_type not in table:
        return ALL_LINEAR, [ALL_LINEAR]
    own = getattr(config, "target_modules", None) or ()
    return "peft", [own] if isinstance(own, str) else sorted(own)


def _matches(pattern: str, name: str) -> bool:
    """As peft matches: a regular expression for the whole name, or the end of it; all-linear is every target."""
    return pattern == ALL_LINEAR or f".{name}".endswith(f".{pattern}") or _fully_matches(pattern, name)


def _fully_matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _base_sizes(model: Any, inside: tuple[str, ...]) -> dict[str, int]:
    """Parameters of the base outside the head, by name: how many; a 4-bit weight as the weights that it packs.

    What lies `inside` a target is the base's own only where the tuner has put it away as ``base_layer``, and so has
    every tuner whose layer lies in it.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    modules = model.get_base_model().named_modules()
    layers = [f"{name}." for name, module in modules if isinstance(module, BaseTunerLayer) and ".base_layer" in name]
    return {
        name: math.prod(state.shape) if (state := getattr(parameter, "quant_state", None)) else parameter.numel()
        for name, parameter in model.get_base_model().named_parameters()
        if not HEAD_PARTS.search(name)
        and (".base_layer." in name or not name.startswith(inside))
        and all(name.startswith(f"{layer}base_layer.") for layer in layers if name.startswith(layer))
    }


def _linear_modules(model: Module) -> Iterator[tuple[str, Module]]:
    """Linear layers by full dotted name: torch's, bitsandbytes' (its subclasses) and GPT-2's Conv1D."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    return ((name, module) for name, module in model.named_modules() if isinstance(module, Linear | Conv1D))


def _outside_head(base: Base) -> Iterator[tuple[str, Module]]:
    inside = tuple(f"{head}." for head in base.head)
    return ((name, module) for name, module in _linear_modules(base.model) if not f"{name}.".startswith(inside))


def _refuse_unmatched(given: str | Iterable[str], base: Base) -> None:
    inside = tuple(f"{head}." for head in base.head)
    names = [name for name, _ in base.model.named_modules() if name and not f"{name}.".startswith(inside)]
    if isinstance(given, str):
        missing = [] if any(re.fullmatch(given, name) for name in names) else [given]
    else:
        missing = [wanted for wanted in given if not any(f".{name}".endswith(f".{wanted}") for name in names)]
    if missing:
        there = sorted({name.rsplit(".", 1)[-1] for name, _ in _outside_head(base)})
        raise UserError(
            f"{missing[0]!r} matches no module of this {base.model.config.model_type} model"
            f"{suggest(missing[0], there)} (linear layers here: {', '.join(there)})",
            ("method", "target_modules"),
        )
