"""Several peft adapters in one model: attached one after the other, each saved as the ordinary adapter that it is.

peft alone loads them again, in the order of the folders' numbers, on one and the same base:
``PeftModel.from_pretrained(base, "run/1-lora")``, then ``PeftModel.from_pretrained(base, "run/2-bitfit")``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.adapters import ALL_LINEAR, NO_TARGETS, Adapter
from peftkit.adapters.attaching import own_state
from peftkit.adapters.fitting import WEIGHTS_FILE
from peftkit.adapters.targets import collapsed, coverage
from peftkit.contracts import Base

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor

PARTS = "peftkit_parts"
"""Attribute of the attached model that remembers its parts; not a submodule, for all parts share the base."""


@dataclass(frozen=True)
class Part:
    """One adapter of a stack."""

    method: Adapter
    model: Any
    """Its own PeftModel, around the base that all parts share."""
    names: dict[int, str]
    """Its own tensors, by identity: the name in its file, as peft would have it before later parts are put around."""


def parts_of(model: Any) -> tuple[Part, ...]:
    """The parts of a stacked model, in the order in which they were attached."""
    found: tuple[Part, ...] = model.__dict__[PARTS]
    return found


def stack(methods: Sequence[Adapter], base: Base, attach: Callable[[int, Adapter, Base], Any]) -> Any:
    """Attaches every one of `methods` by `attach`, given its number from 0; the model of the last, which is trained.

    The last brings the head, and so its file alone holds it: peft finds no adapter complete without the head that is in
    the model when it is loaded. What a part trains stays trained when the next is attached; the tensors of the parts
    before, and the head, are not touched by it.
    """
    own = {id(tensor) for tensor in _tensors(base.model)} - {
        id(tensor) for name in base.head for tensor in _tensors(base.model.get_submodule(name))
    }
    parts: list[Part] = []
    for number, method in enumerate(methods):
        last = number == len(methods) - 1
        others = method.others = frozenset(id(tensor) for tensor in _tensors(base.model)) - own
        trained = {id(parameter): parameter.requires_grad for parameter in base.model.parameters()}
        with _beside_others(base.model):
            model = attach(number, method, replace(base, head=base.head if last else ()))
        for parameter in base.model.parameters():
            before = trained.get(id(parameter))
            if before is not None and (before or id(parameter) in others):
                parameter.requires_grad_(before)
        parts.append(Part(method, model, {id(tensor): name for name, tensor in own_state(model, others).items()}))
    model.__dict__[PARTS] = tuple(parts)
    return model


def spelled_out(config: PeftConfig, base: Base) -> PeftConfig:
    """`config` with the full names of the modules that its patterns match in the base as it was loaded.

    In a base that holds an adapter already, a pattern would match the adapter's own layers too. Patterns that the tuner
    itself knows for an architecture are left to it, and so are those that come in pairs (IA3's).
    """
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    given = getattr(config, "target_modules", None)
    if given in (None, NO_TARGETS, ALL_LINEAR) or hasattr(config, "feedforward_modules"):
        return config
    tuner: Any = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
    names = (name for name, _ in base.model.named_modules() if name)
    config.target_modules = [name for name in names if tuner._check_target_module_exists(config, name)]
    return config


def save_parts(model: Any, folders: Sequence[Path]) -> None:
    """Writes every part into its folder, as peft would have written it before the parts after it were attached."""
    from safetensors.torch import load_file, save_file

    everything = {id(tensor) for part in parts_of(model) for tensor in _tensors(part.model)}
    for part, folder in zip(parts_of(model), folders, strict=True):
        part.model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's empty form of a model card
        own = own_state(part.model, frozenset(everything - part.names.keys()))
        names = {name: part.names.get(id(tensor), name) for name, tensor in own.items()}
        written = load_file(folder / WEIGHTS_FILE)
        tensors = {names[name]: tensor for name, tensor in written.items() if name in names}
        save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def merge_parts(model: Any) -> Any:
    """Every part folded into the base's weights; the base model without adapters.

    The innermost layer is merged first: what is around it changes the weight that it leaves, as in the forward pass.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    base = model.get_base_model()
    wrappers = [name for name, part in base.named_modules() if isinstance(part, AuxiliaryTrainingWrapper)]
    for name in wrappers:  # trained tokens
        wrapper: Any = base.get_submodule(name)
        base.set_submodule(name, wrapper.unload_and_optionally_merge_module(True, True, None))
    layers: dict[str, Any] = {name: part for name, part in base.named_modules() if isinstance(part, BaseTunerLayer)}
    for layer in reversed(layers.values()):  # modules are named from the outside in
        layer.merge(safe_merge=True)
    for name, layer in layers.items():
        if not any(name.startswith(f"{other}.") for other in layers):
            base.set_submodule(name, layer.get_base_layer())
    return base


def reach_of_parts(model: Any) -> dict[str, Any]:
    """The coverage of all parts together; in place of patterns stand the parts, by their methods' names."""
    targeted = {part.method.settings.name: _targeted(part.model) for part in parts_of(model)}
    together = coverage(model, targeted=sorted({name for names in targeted.values() for name in names}))
    matched = {name: collapsed(names) for name, names in targeted.items() if names}
    return together | {"targets_by": "parts", "targets_by_pattern": matched}


def _targeted(model: Any) -> list[str]:
    """Targets of one part under the names that they have in the base as it was loaded."""
    return [name.replace(".base_layer", "") for name in getattr(model.base_model, "targeted_module_names", ())]


def _tensors(model: Any) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


@contextmanager
def _beside_others(model: Any) -> Iterator[None]:
    """Lets peft attach to a model that has an adapter: each part has a configuration of its own, and no warning."""
    model.__dict__.pop("peft_config", None)  # else peft adds to the configurations of the part before
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are trying to modify a model with PEFT for a second time")
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        yield
