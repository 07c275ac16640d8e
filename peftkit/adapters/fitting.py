"""Whether an adapter was made for this base: its tensors' names and shapes beside the model's, before peft loads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Base
from peftkit.errors import UserError

if TYPE_CHECKING:
    from torch.nn import Module

PREFIX = "base_model.model."
"""What peft puts before the name that a module has in the base."""
WEIGHTS_FILE = "adapter_model.safetensors"
Shape = tuple[int, ...]


def refuse_other_base(base: Base, folder: Path) -> None:
    """Raises UserError when the adapter in `folder` names modules that `base` lacks, or has another size than them.

    Reads the file's header alone. What only the tuner itself knows the shape of is left to peft.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / WEIGHTS_FILE
    try:
        with safe_open(file, framework="pt") as opened:
            shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118 - no dict
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no {WEIGHTS_FILE}") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be read, the file is damaged or cut off: {error}") from None
    config = _configuration(folder)
    if config.get("layer_replication"):
        return  # peft itself makes the layers that this base lacks
    for reason in _misfits(base.model, shapes):
        kind, made_for = base.model.config.model_type, config.get("base_model_name_or_path") or "another base"
        raise UserError(f"{folder}: the adapter was made for {made_for}, not for this {kind} model: {reason}")


def _misfits(model: Module, shapes: Mapping[str, Shape]) -> Iterator[str]:
    """What does not fit, a phrase each, in the file's order."""
    for key, shape in shapes.items():
        if not key.startswith(PREFIX):
            continue  # a tuner's shared tensors, or a prompt: no module of the base is named
        module, path, rest = _walk(model, key.removeprefix(PREFIX))
        if not path or rest[0].isdigit():
            yield f"there is no {'.'.join([*path, rest[0]])} in it"
        elif wanted := _wanted(module, rest, len(shape)):
            name, given = ".".join([*path, *rest]), tuple(shape[place] for place in wanted)
            if given != tuple(wanted.values()):
                yield f"{name} has {_size(given)} where the model has {_size(tuple(wanted.values()))}"


def _walk(model: Module, name: str) -> tuple[Any, list[str], list[str]]:
    """The deepest module on the way to `name`, the way to it, and what is left of the name."""
    parts, module = name.split("."), model
    for depth, part in enumerate(parts):
        inner = module._modules.get(part)
        if inner is None:
            return module, parts[:depth], parts[depth:]
        module = inner
    return module, parts, [""]


def _wanted(module: Any, rest: list[str], dimensions: int) -> dict[int, int]:
    """Sizes that the tensor must have by dimension, where the base itself tells."""
    own = module._parameters.get(rest[0]) if len(rest) == 1 else None
    if own is not None:
        return dict(enumerate(own.shape)) if own.dim() == dimensions and own.is_floating_point() else {}
    sizes = {"lora_A": (1, "in_features"), "lora_B": (0, "out_features")}
    place, feature = sizes.get(rest[0], (0, ""))
    size = getattr(module, feature, None) if dimensions == 2 else None
    return {} if size is None else {place: size}


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _configuration(folder: Path) -> dict[str, Any]:
    """The adapter's configuration; nothing where it cannot be read, which peft tells."""
    try:
        found: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
