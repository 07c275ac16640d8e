"""Which modules are new for the task: they are always trained, always saved and never quantized."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from peftkit.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def head_modules(empty: PreTrainedModel, info: Mapping[str, Any], adds_head: bool) -> tuple[str, ...]:
    """Full dotted names of the head's modules, outermost only, from a model on meta and transformers' loading info.

    A module belongs to the head when the checkpoint has none of its weights (or has them in another size), or when it
    stands beside the base inside the task's model: BERT's `classifier`, DeBERTa's `pooler`, BART's
    `classification_head`, Llama's `score`, whatever they are called. A language model has no head that is new:
    `adds_head` is False, and its checkpoint must be complete.

    Raises:
        UserError: weights of the base itself are missing from the checkpoint.
    """
    absent = {key if isinstance(key, str) else key[0] for key in (*info["missing_keys"], *info["mismatched_keys"])}
    if not adds_head:
        if absent:
            raise UserError(
                f"the checkpoint does not fit {type(empty).__name__}: {len(absent)} of its tensors are missing or of "
                f"another size, e.g. {min(absent)}",
                ("model", "name"),
            )
        return ()
    beside = (name for name, child in empty.named_children() if any(True for _ in child.parameters()))
    prefix = empty.base_model_prefix
    outside = [name for name in beside if hasattr(empty, prefix) and name != prefix]
    _refuse_holes(empty, {key for key in absent if not key.startswith(tuple(f"{name}." for name in outside))})
    return _outermost([*outside, *_wholly_absent(empty, absent)])


def _wholly_absent(model: PreTrainedModel, absent: set[str]) -> Iterable[str]:
    """Modules with parameters, all of them absent."""
    for name, module in model.named_modules():
        keys = [f"{name}.{key}" for key, _ in module.named_parameters()]
        if name and keys and absent.issuperset(keys):
            yield name


def _outermost(names: Iterable[str]) -> tuple[str, ...]:
    """`names` without those that lie inside another."""
    unique = set(names)
    return tuple(sorted(name for name in unique if not any(name.startswith(f"{other}.") for other in unique)))


def _refuse_holes(model: PreTrainedModel, absent: set[str]) -> None:
    """A numbered layer (``encoder.layer.3.``) is never part of a head; without its weights the base is not the base."""
    holes = sorted(key for key in absent if re.search(r"\.\d+\.", key))
    if holes:
        raise UserError(
            f"the checkpoint does not fit {type(model).__name__}: {len(holes)} tensors of its layers are missing or of "
            f"another size, e.g. {holes[0]}",
            ("model", "name"),
        )
