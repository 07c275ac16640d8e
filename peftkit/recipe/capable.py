"""A recipe held to the capability table: what was proved not to work is refused before anything loads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from peftkit.capabilities import Case, capabilities
from peftkit.errors import Key
from peftkit.mixtures import MixtureSettings
from peftkit.tasks import TASKS

if TYPE_CHECKING:
    from peftkit.recipe.spec import Recipe

LANGUAGE_MODELS = {"AutoModelForCausalLM": "text-generation", "AutoModelForSeq2SeqLM": "text2text-generation"}
"""The table's task for heads that a base brings along, whatever is asked of them (translation, likelihoods)."""
KEYS: dict[str, Key] = {
    "method": ("method",),
    "bits": ("quantization",),
    "gradient_checkpointing": ("training", "gradient_checkpointing"),
    "bfloat16": ("model", "dtype"),
}


def capability_objections(recipe: Recipe, architecture: str | None) -> Iterator[tuple[Key, str]]:
    """The setting to change and why, with the nearest that works."""
    auto_class = TASKS[recipe.task.name](recipe.task).auto_class
    modes = ["gradient_checkpointing"] if recipe.training.gradient_checkpointing else []
    modes += ["bfloat16"] if recipe.model.dtype == "bfloat16" else []
    bits = f"{recipe.quantization.bits}bit" if recipe.quantization else "none"
    task = LANGUAGE_MODELS.get(auto_class, recipe.task.name)
    case = Case(architecture, task, bits, tuple(modes) or ("plain",))
    parts = recipe.method.parts if isinstance(recipe.method, MixtureSettings) else [recipe.method]
    for place, part in enumerate(parts):
        if (found := capabilities().objection(part, case)) is not None:
            blamed, reason = found
            yield (("method", place) if blamed == "method" and len(parts) > 1 else KEYS[blamed]), reason
