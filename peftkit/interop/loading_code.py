"""Python that loads a run without peftkit, for its card."""

from __future__ import annotations

from pathlib import Path

from peftkit.interop.folders import adapter_configs
from peftkit.methods.bottleneck import Bottleneck
from peftkit.output import ADAPTER_MODEL_CONFIG, COMPLETE_CONFIG
from peftkit.recipe import Recipe
from peftkit.record import content_of
from peftkit.tasks import TASKS
from peftkit.trained import recipe_in


def loading_code(folder: Path, base: str | None) -> list[str]:
    """Lines that need transformers and peft alone; `base` is the base's name on the hub, None where it was a folder.

    An adapter of a tuner that is peftkit's own needs it imported too.
    """
    recipe = recipe_in(folder, ())
    auto, processor = TASKS[recipe.task.name](recipe.task).auto_class, TASKS[recipe.task.name].processor_class
    last = f"processor = {processor}.from_pretrained(folder)"
    if (folder / COMPLETE_CONFIG).is_file():
        imports = f"from transformers import {auto}, {processor}"
        return [imports, "", f"model = {auto}.from_pretrained(folder)", last]
    parts = adapter_configs(folder)
    adapters = [content_of(part) for part in parts]
    quantized = _quantization(recipe, adapters[-1].get("modules_to_save") or [])  # the last has the head
    needed = sorted(["AutoConfig", auto, processor, *(["BitsAndBytesConfig"] if quantized else [])])
    known = all(adapter.get("peft_type") != Bottleneck.peft_type for adapter in adapters)
    ours = [] if known else ["import peftkit  # makes peft know this adapter"]
    *below, last_part = (_inside(part.parent, folder) for part in parts)
    arguments = ["config=config", f'dtype="{recipe.model.dtype}"', *quantized]
    arguments += [f"revision={recipe.model.revision!r}"] if recipe.model.revision else []
    return [
        *ours,
        "from peft import PeftModel",
        f"from transformers import {', '.join(needed)}",
        "",
        f"base = {base!r}" if base else "base = ...  # the folder of the base model; it was not from the hub",
        f'config = AutoConfig.from_pretrained(folder + "/{ADAPTER_MODEL_CONFIG}")  # names the classes',
        f"model = {auto}.from_pretrained(",
        *(f"    {argument}," for argument in ["base", *arguments]),
        ")",
        *(f"PeftModel.from_pretrained(model, {part})  # puts it into model" for part in below),
        f"model = PeftModel.from_pretrained(model, {last_part}).eval()",
        last,
    ]


def _inside(part: Path, folder: Path) -> str:
    """Python for the folder of an adapter: the run's, or one in it."""
    return "folder" if part == folder else f'folder + "/{part.relative_to(folder).as_posix()}"'


def _quantization(recipe: Recipe, head: list[str]) -> list[str]:
    """The argument that quantizes the base as it was in training, its head left out; none for a base that was not."""
    settings = recipe.quantization
    if settings is None:
        return []
    skipped = f"llm_int8_skip_modules={head!r}"
    if settings.bits == 8:
        return [f"quantization_config=BitsAndBytesConfig(load_in_8bit=True, {skipped})"]
    compute = settings.compute_dtype or recipe.model.dtype
    given = [
        "load_in_4bit=True",
        f"bnb_4bit_quant_type={settings.type!r}",
        f"bnb_4bit_use_double_quant={settings.double}",
        f"bnb_4bit_compute_dtype={compute!r}",
        skipped,
    ]
    lines = [f"    {argument}," for argument in given]
    return ["\n    ".join(["quantization_config=BitsAndBytesConfig(", *lines, ")"])]
