"""Which modules an adapter goes to: resolved before peft sees them, so that a wrong pattern is told plainly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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


def coverage(model: Any) -> dict[str, Any]:
    """The modules that carry the adapter, and the share of the linear layers outside the head that they are or hold."""
    targeted = sorted(getattr(model.base_model, "targeted_module_names", ()))
    inside = tuple(f"{name}." for name in targeted)
    linears = {
        name.replace(".base_layer", "")
        for name, _ in _linear_modules(model.get_base_model())
        if (".base_layer" in name or not name.startswith(inside)) and not HEAD_PARTS.search(name)
    }
    covered = [name for name in linears if f"{name}.".startswith(inside)]
    return {"targeted_modules": targeted, "targeted_linear_share": len(covered) / len(linears) if linears else None}


def _linear_modules(model: Module) -> Iterator[tuple[str, Module]]:
    """Linear layers by full dotted name: torch's, bitsandbytes' (its subclasses) and GPT-2's Conv1D."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    return ((name, module) for name, module in model.named_modules() if isinstance(module, Linear | Conv1D))


def _outside_head(base: Base) -> Iterator[tuple[str, Module]]:
    inside = tuple(f"{head}." for head in base.head)
    return ((name, module) for name, module in _linear_modules(base.model) if not f"{name}.".startswith(inside))


def _refuse_unmatched(given: str | Iterable[str], base: Base) -> None:
    names = [name for name, _ in base.model.named_modules() if name]
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
