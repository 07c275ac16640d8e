"""Merging: what was trained folded into the base's own weights; an ordinary transformers model is left."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from peftkit.contracts import Base, Method, Task
from peftkit.data import Given
from peftkit.errors import PeftkitError, UserError
from peftkit.interop.folders import folder_of_run, whole_folder
from peftkit.interop.measuring import beyond_rounding, compared, measure, ruler, stack
from peftkit.methods import METHODS
from peftkit.mixtures import method_of, plain_data
from peftkit.model import load_base, load_empty
from peftkit.recipe import Recipe
from peftkit.trained import load, recipe_in

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

Bits = Literal[4, 8]
MERGE_FILE = "merge.json"
QUANTIZED_FLAGS = ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized")
"""What transformers' `dequantize` leaves on the model, and tuners of peft go by (IA3 would refuse to merge)."""
INEXACT_BITS = 8
"""LLM.int8 quantizes activations too in its forward pass, which no unquantized model repeats."""


def merge(
    folder: str | Path, output: str | Path, overrides: Sequence[str] = (), *, rows: Given | None = None
) -> dict[str, Any]:
    """Merges a run into `output`, a folder that transformers loads alone; returns the report, kept there too.

    W' = W + delta is computed in float32 and stored in the base's dtype. A quantized base is dequantized first: 4-bit
    weights then stay what they were to every product, so the merged model computes what the adapter's did. What is
    compared is the merged model as read back from disk. `overrides` and `rows` are as for `peftkit.load`.

    Raises:
        UserError: the method cannot be merged, there is no run, or `output` is not free.
        PeftkitError: the merged model computes something else, where it must not.
    """
    began, folder = time.perf_counter(), folder_of_run(folder)
    recipe = recipe_in(folder, overrides)
    refuse_unmergeable(method_of(recipe.method), folder)
    with whole_folder(Path(output)) as inside:
        trained = load(folder, overrides)
        method, task, device = trained.method, trained.task, trained.accelerator.device
        by = ruler(trained, folder, rows)
        before = measure(by, trained.model)
        del trained  # two models need not fit the device together
        merged, bits = merged_model(recipe, method, task, folder, device)
        _write(merged, recipe, task, inside)
        del merged
        after = measure(by, _read_back(recipe, task, inside).to(device))
        report = _report(recipe, bits, compared(by, before, after), time.perf_counter() - began)
        if report["exact"] and (allowed := beyond_rounding(report, recipe.model.dtype)) is not None:
            off = f"off by {report['logit_difference']:.2g}, allowed {allowed:.2g}"
            raise PeftkitError(f"{folder}: merged, the model gives other logits ({off})")
        (inside / MERGE_FILE).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def refuse_unmergeable(method: Method, folder: Path) -> None:
    """Raises UserError for a method that leaves nothing to merge, or nothing that can be; names those that can."""
    name = method.settings.name
    if name == "full":
        raise UserError(f"{folder}: trained with full, there is nothing to merge: the run's folder is a model already")
    if not method.mergeable:
        raise UserError(f"{folder}: {name} cannot be merged into the base's weights; {_those_that_can()}")


def merged_model(
    recipe: Recipe, method: Method, task: Task, folder: Path, device: torch.device
) -> tuple[Any, Bits | None]:
    """The merged model in float32, and the bits of the base it was trained on. Raises UserError when peft cannot."""
    base, bits = plain_base(recipe, task, device)
    attached: Any = method.load(base, folder)
    _unwrap_heads(attached)
    try:
        merged: Any = method.merged(attached)
    except (AttributeError, NotImplementedError, ValueError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        told = f"{folder}: {recipe.method.name} as set here cannot be merged: {first}; {_those_that_can()}"
        raise UserError(told) from error
    left = [name for name, module in merged.named_modules() if type(module).__module__.startswith("peft.")]
    if left:
        raise PeftkitError(f"{folder}: after merging, {left[0]} is still a part of the adapter")
    if bits:
        _restore_transposed(merged, load_empty(recipe, task).model)
    merged.config.update(task.config())
    return merged, bits


def plain_base(recipe: Recipe, task: Task, device: torch.device) -> tuple[Base, Bits | None]:
    """The run's base in float32, dequantized where it was quantized, and in how many bits it was."""
    import torch

    empty = load_empty(recipe, task)
    if empty.bits is None:
        model = recipe.model.model_copy(update={"dtype": "float32"})
        return load_base(recipe.model_copy(update={"model": model}), task, device), None
    base = load_base(recipe, task, device)
    plain = base.model.dequantize(dtype=torch.float32).float()
    for flag in QUANTIZED_FLAGS:
        if hasattr(plain, flag):
            setattr(plain, flag, False)
    return Base(plain, base.head, base.peft_task_type), empty.bits


def _restore_transposed(model: Any, empty: Module) -> None:
    """Puts GPT-2's transposed linear layers back, which transformers' `dequantize` leaves as ordinary ones: those that
    the adapter was trained on, and that some tuners of peft alone can be put on."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for name, layer in empty.named_modules():
        if isinstance(layer, Conv1D) and not isinstance(found := model.get_submodule(name), Conv1D):
            restored = Conv1D(found.out_features, found.in_features)
            restored.weight = torch.nn.Parameter(found.weight.T.contiguous(), requires_grad=False)
            restored.bias = found.bias
            model.set_submodule(name, restored)


def _unwrap_heads(model: Any) -> None:
    """Puts every trained head in its place as a plain module, before peft merges the rest.

    peft itself fails at heads that are containers (RoBERTa's has no `weight` to copy: BaseTuner._replace_module), and
    leaves the wrapper in the model for tuners that do not look for it (ln_tuning), so that the head is lost on saving.
    """
    from peft.utils.other import ModulesToSaveWrapper

    wrapped = [name for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper)]
    for name in wrapped:
        wrapper = model.get_submodule(name)
        model.set_submodule(name, wrapper.modules_to_save[wrapper.active_adapters[0]])


def _write(merged: Any, recipe: Recipe, task: Task, inside: Path) -> None:
    import torch

    merged.requires_grad_(False)
    merged.to(getattr(torch, recipe.model.dtype))
    merged.save_pretrained(str(inside))
    task.processor.save_pretrained(inside)


def _read_back(recipe: Recipe, task: Task, inside: Path) -> Any:
    """The merged model as transformers alone reads it. Raises PeftkitError when a tensor is missing or left over."""
    import torch
    import transformers

    model, info = getattr(transformers, task.auto_class).from_pretrained(
        str(inside),
        dtype=getattr(torch, recipe.model.dtype),
        attn_implementation=recipe.model.attention,
        trust_remote_code=recipe.model.trust_remote_code,
        output_loading_info=True,
    )
    astray = sorted({*info["missing_keys"], *info["unexpected_keys"], *map(str, info["mismatched_keys"])})
    if astray:
        raise PeftkitError(f"the merged model does not load by itself: {astray[0]} is missing, left over or misshapen")
    return model


def _report(recipe: Recipe, bits: Bits | None, comparison: dict[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "base": {
            "name": recipe.model.name,
            "revision": recipe.model.revision,
            "dtype": recipe.model.dtype,
            "bits": bits,
            "merged_into": "the dequantized base" if bits else "the base",
        },
        "method": plain_data(recipe.method, exclude_defaults=True),
        "exact": recipe.model.dtype == "float32" and bits != INEXACT_BITS,
        **comparison,
        "seconds": seconds,
        "versions": stack(),
    }


def _those_that_can() -> str:
    return f"those that can: {', '.join(name for name, method in METHODS.items() if method.mergeable)}"
