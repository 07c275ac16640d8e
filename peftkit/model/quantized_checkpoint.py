"""A checkpoint that was saved quantized: how, whether that agrees with the recipe, and which of its weights are packed.

transformers takes such a checkpoint for what its config says and cannot put a fresh head onto it: it would pack the
head too. So the config's quantization is taken out, the head found as for every checkpoint, and the same quantization
put back with everything named that the checkpoint holds unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peftkit.errors import UserError
from peftkit.methods import METHODS
from peftkit.mixtures import method_of
from peftkit.recipe import Quantization, Recipe, check

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Stored = dict[str, Any]
"""``quantization_config`` of a checkpoint's ``config.json``."""
NAME = ("model", "name")
COMPANIONS = (".weight.absmax", ".SCB")
"""What bitsandbytes writes beside every packed weight, in 4 and in 8 bits: the scales."""


def take_stored(config: PreTrainedConfig) -> Stored | None:
    """The checkpoint's own quantization, which is removed from `config`; None where it has none."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    del config.quantization_config
    return dict(stored if isinstance(stored, dict) else stored.to_dict())


def agreed(recipe: Recipe, stored: Stored | None) -> Recipe:
    """The recipe with the checkpoint's own quantization where it has one.

    Raises:
        UserError: the checkpoint is quantized by another library, otherwise than the recipe says, or in a way that the
            method cannot train on.
    """
    if stored is None:
        return recipe
    own, asked = _settings(stored, recipe.model.name), recipe.quantization
    method = method_of(recipe.method)
    if not method.quantizable:
        fits = ", ".join(name for name, other in METHODS.items() if other.quantizable)
        raise UserError(
            f"{recipe.model.name} is already quantized to {own.bits} bits, and method {recipe.method.name} trains the "
            f"base itself; use one of {fits}, or a checkpoint in full precision",
            NAME,
        )
    if "quantization" in recipe.model_fields_set:
        if asked is None or _kind(asked) != _kind(own):
            raise UserError(
                f"the recipe says {_kind(asked)}, but {recipe.model.name} is already quantized, as {_kind(own)}; "
                "leave quantization out",
                ("quantization",),
            )
        own = own.model_copy(update={"compute_dtype": asked.compute_dtype or own.compute_dtype})
    return check(recipe.given() | {"quantization": own.model_dump(exclude_defaults=True)}, {})


def packed_weights(info: Mapping[str, Any]) -> set[str]:
    """Modules whose weights the checkpoint holds packed, by its own names: told by their scales, which no model has."""
    return {
        key.removesuffix(ending) for key in info["unexpected_keys"] for ending in COMPANIONS if key.endswith(ending)
    }


def without_packed(info: Mapping[str, Any], packed: set[str]) -> dict[str, Any]:
    """transformers' loading info where packed weights do not count as being of another size."""
    mismatched = {key for key in info["mismatched_keys"] if not _among(key[0].removesuffix(".weight"), packed)}
    return {**info, "mismatched_keys": mismatched}


def to_load(stored: Stored, quantization: Quantization, empty: PreTrainedModel, packed: set[str]) -> Stored:
    """What to load the checkpoint with: its own quantization, all that it holds unpacked left so."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    layers = [name for name, module in empty.named_modules() if isinstance(module, Linear | Conv1D)]
    skipped = [name for name in layers if not _among(name, packed)]
    computed = {"bnb_4bit_compute_dtype": quantization.compute_dtype} if quantization.bits == 4 else {}
    return {**stored, **computed, "llm_int8_skip_modules": skipped or None}


def refuse_packed_head(head: tuple[str, ...], empty: PreTrainedModel, packed: set[str], name: str) -> None:
    """Raises UserError where the checkpoint's weights of the head are packed: a head is trained in full precision."""
    for part in head:
        inner = [f"{part}.{rest}" if rest else part for rest, _ in empty.get_submodule(part).named_modules()]
        if found := [module for module in inner if _among(module, packed)]:
            raise UserError(
                f"{name} holds the head's {found[0]} quantized, and a head is trained in full precision; use the "
                "unquantized checkpoint, or one that was quantized without its head",
                NAME,
            )


def _settings(stored: Stored, name: str) -> Quantization:
    by = getattr(stored.get("quant_method"), "value", stored.get("quant_method"))
    if by != "bitsandbytes":
        raise UserError(f"{name} is quantized by {by}; peftkit trains on bitsandbytes' 8 and 4 bits only", NAME)
    if stored.get("load_in_8bit"):
        return Quantization(bits=8)
    return Quantization(
        bits=4,
        type=stored["bnb_4bit_quant_type"],
        double=bool(stored.get("bnb_4bit_use_double_quant")),
        compute_dtype=str(stored.get("bnb_4bit_compute_dtype") or "float32").removeprefix("torch."),  # type: ignore[arg-type]
    )


def _kind(quantization: Quantization | None) -> str:
    """``none``, ``8bit``, ``4bit nf4`` or ``4bit nf4 double``."""
    if quantization is None:
        return "none"
    if quantization.bits == 8:
        return "8bit"
    return f"4bit {quantization.type}{' double' if quantization.double else ''}"


def _among(module: str, packed: set[str]) -> bool:
    """Whether `module` is in `packed`, whose names may lack the base's prefix (``encoder…`` for ``bert.encoder…``)."""
    inner = module.partition(".")[2]
    return module in packed or inner in packed
