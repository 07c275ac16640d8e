"""Exporting as LoRA: the adapter as plain A and B beside the base as it is, for programs that know nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from peftkit.adapters.fitting import WEIGHTS_FILE
from peftkit.data import Given
from peftkit.errors import PeftkitError, UserError
from peftkit.interop.folders import folder_of_run, whole_folder
from peftkit.interop.measuring import beyond_rounding, compared, measure, ruler, stack
from peftkit.methods import METHODS
from peftkit.mixtures import MixtureSettings
from peftkit.model import load_base
from peftkit.output import save_model_config
from peftkit.trained import Trained, load

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor
    from torch.nn import Module

EXPORT_FILE = "export.json"
KEPT = 0.999999
"""Share of an update's squared Frobenius norm that its low-rank form keeps by default: a relative error of 1e-3."""
CHANGES_THE_BASE = ("pissa", "olora")
"""Initialisations that take what A and B start from out of the base's weights; loading repeats a decomposition."""
LEAVES_THE_BASE = (True, False, "gaussian", "eva", "orthogonal")

State = dict[str, "Tensor"]


def export_lora(
    folder: str | Path,
    output: str | Path,
    overrides: Sequence[str] = (),
    *,
    rank: int | float | None = None,
    rows: Given | None = None,
) -> dict[str, Any]:
    """Writes a run's adapter into `output` as a plain LoRA adapter; returns the report, kept there too.

    A LoRA adapter is copied. One that began from PiSSA or OLoRA, s·B'A' beside W - s·B0·A0, becomes
    delta = [s·B', -s·B0]·[A'; A0] beside W itself, of twice the rank: no rounding but float32's. Any other additive
    method gives a dense delta for each layer, cut to its leading singular vectors (peft's `convert_to_lora`): `rank` of
    them, or as many as keep the share `rank` of its squared norm, 0.999999 by default.
    What is compared is the exported adapter as peft reads it back onto a fresh base.

    Raises:
        UserError: the method has no LoRA form, `rank` is impossible, there is no run, or `output` is not free.
        PeftkitError: a LoRA adapter computes something else after it was copied.
    """
    began, folder = time.perf_counter(), folder_of_run(folder)
    if rank is not None and not (0 < rank < 1 or (rank >= 1 and rank == int(rank))):
        raise UserError(f"rank {rank:g}: give a whole number from 1, or the share to keep, between 0 and 1")
    with whole_folder(Path(output)) as inside:
        trained = load(folder, overrides)
        by = ruler(trained, folder, rows)
        before = measure(by, trained.model)
        how, config, state = _lora_form(trained, folder, rank)
        _write(config, state, trained, inside)
        recipe, task, device = trained.recipe, trained.task, trained.accelerator.device
        method, ranks = recipe.method.name, _ranks(state)
        del trained, state
        base = load_base(recipe, task, device, seed=recipe.seed + 1)
        after = measure(by, _read_back(base.model, inside).to(device))
        report: dict[str, Any] = {"from": method, "conversion": how, "ranks": ranks, **compared(by, before, after)}
        report |= {"seconds": time.perf_counter() - began, "versions": stack()}
        same = how != "singular values" and recipe.quantization is None
        if same and (allowed := beyond_rounding(report, recipe.model.dtype)) is not None:
            off = f"off by {report['logit_difference']:.2g}, allowed {allowed:.2g}"
            raise PeftkitError(f"{folder}: exported, the adapter gives other logits ({off})")
        (inside / EXPORT_FILE).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def convertible() -> list[str]:
    """Methods whose adapters have a LoRA form: LoRA's own, and those whose tuner says so to peft."""
    import sys

    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    import peftkit.tuners  # noqa: F401 - registers our own tuners with peft

    found = []
    for name, method in METHODS.items():
        tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(getattr(method, "peft_type", None))
        home = f"{getattr(tuner, '__module__', '').rpartition('.')[0]}.layer"  # where peft keeps a tuner's layers
        there = vars(sys.modules[home]).values() if home in sys.modules else ()
        if any(_says_so(kind) for kind in there if getattr(kind, "__module__", None) == home):
            found.append(name)
    return found


def _says_so(kind: Any) -> bool:
    """Whether layers of `kind` say themselves that they have a LoRA form; one that must look at its base layer may."""
    says = getattr(kind, "__dict__", {}).get("supports_lora_conversion")
    try:
        return says is not None and bool(says(SimpleNamespace()))
    except AttributeError:
        return True


def _lora_form(trained: Trained, folder: Path, rank: int | float | None) -> tuple[str, LoraConfig, State]:
    """How it was converted, peft's configuration, and the tensors under peft's names."""
    model: Any = trained.model
    name = trained.recipe.method.name
    if isinstance(trained.recipe.method, MixtureSettings):
        raise UserError(
            f"{folder}: {name} is kept as two adapters, and is no LoRA; peftkit merge joins them with the base"
        )
    config = getattr(model, "peft_config", {}).get("default")
    if config is None:
        raise UserError(f"{folder}: {name} is no adapter; {_those_that_can()}")
    if config.peft_type == "LORA":
        if rank is not None:
            raise UserError(f"{folder}: {name} is kept as LoRA already and keeps its rank; leave --rank out")
        return _own_form(trained, folder, config)
    if not model.supports_lora_conversion():
        raise UserError(f"{folder}: {name} has no LoRA form; {_those_that_can()}")
    from peft import convert_to_lora

    try:
        converted, state = convert_to_lora(model, rank=KEPT if rank is None else int(rank) if rank >= 1 else rank)
    except (TypeError, ValueError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: {name} as set here cannot be converted: {first}") from error
    layers = {key: value for key, value in state.items() if key.endswith((".lora_A.weight", ".lora_B.weight"))}
    return "singular values", converted, {**layers, **_heads(model)}


def _own_form(trained: Trained, folder: Path, config: Any) -> tuple[str, LoraConfig, State]:
    """A LoRA adapter as one that leaves the base as it is."""
    from peft import get_peft_model_state_dict

    model: Any = trained.model
    variants = {type(kind).__name__ for _, layer in _lora_layers(model) for kind in layer.lora_variant.values()}
    if variants:  # peft says that DoRA's can be converted, and would leave out its magnitudes
        kind = min(variants).removesuffix("LinearVariant")
        raise UserError(f"{folder}: {kind} is more than a low-rank update, it has no plain LoRA form; merge it instead")
    start, plain = config.init_lora_weights, deepcopy(config)
    plain.init_lora_weights = True
    state: State = get_peft_model_state_dict(model, save_embedding_layers=False)
    if start in LEAVES_THE_BASE:
        return "copied", plain, state
    if not str(start).startswith(CHANGES_THE_BASE):
        raise UserError(f"{folder}: lora that began from {start} changes the base's weights; merge it instead")
    plain.use_rslora = False  # each layer's own scaling is in its B
    plain.r = plain.lora_alpha = 2 * config.r
    plain.rank_pattern = {key: 2 * value for key, value in config.rank_pattern.items()}
    plain.alpha_pattern = dict(plain.rank_pattern)
    return "difference from its start", plain, {**state, **_differences(trained)}


def _differences(trained: Trained) -> State:
    """[A'; A0] of ``(2r, in)`` and [s·B', -s·B0] of ``(out, 2r)`` of each layer, A0 and B0 made from the base again."""
    import torch

    recipe, device = trained.recipe, trained.accelerator.device
    start = trained.method.attach(load_base(recipe, trained.task, device), total_steps=1)
    initial = dict(_lora_layers(start))
    found: State = {}
    for name, layer in _lora_layers(trained.model):
        before, scaling = initial[name], layer.scaling["default"]
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        a0, b0 = before.lora_A["default"].weight, before.lora_B["default"].weight
        found[f"{name}.lora_A.weight"] = torch.cat([a, a0])
        found[f"{name}.lora_B.weight"] = torch.cat([scaling * b, -scaling * b0], dim=1)
    return found


def _lora_layers(model: Module) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))


def _heads(model: Module) -> State:
    """Trained heads under the names that peft loads them by; its own conversion loses those that are containers."""
    from peft.utils.other import ModulesToSaveWrapper

    return {
        f"{name}.{key}": value
        for name, wrapper in model.named_modules()
        if isinstance(wrapper, ModulesToSaveWrapper)
        for key, value in wrapper.modules_to_save[wrapper.active_adapters[0]].state_dict().items()
    }


def _write(config: LoraConfig, state: Mapping[str, Tensor], trained: Trained, inside: Path) -> None:
    from safetensors.torch import save_file

    config.inference_mode = True
    config.save_pretrained(str(inside))
    tensors = {key: value.detach().clone().contiguous() for key, value in state.items()}
    save_file(tensors, inside / WEIGHTS_FILE, metadata={"format": "pt"})
    model: Any = trained.model
    save_model_config(model.config, trained.recipe, inside)
    trained.task.processor.save_pretrained(inside)


def _read_back(base: Any, inside: Path) -> Any:
    """The exported adapter on a fresh base, by peft alone. Raises PeftkitError when a tensor is missing."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    model = PeftModel.from_pretrained(base, str(inside))
    with safe_open(inside / WEIGHTS_FILE, framework="pt") as opened:
        there = set(opened.keys())
    astray = sorted(there ^ set(get_peft_model_state_dict(model, save_embedding_layers=False)))
    if astray:
        raise PeftkitError(f"the exported adapter does not load by itself: {astray[0]} is missing or left over")
    return model


def _ranks(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Rank of every layer by name."""
    end = ".lora_A.weight"
    return {key.removesuffix(end): len(value) for key, value in state.items() if key.endswith(end)}


def _those_that_can() -> str:
    return f"those that can be converted: {', '.join(convertible())}"
