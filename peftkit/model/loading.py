"""A base model from a folder, an installed package or the hub, with a fresh head for the task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Base, Task
from peftkit.errors import UserError
from peftkit.model.head import head_modules
from peftkit.model.quantized_checkpoint import (
    Stored,
    agreed,
    packed_weights,
    refuse_packed_head,
    take_stored,
    to_load,
    without_packed,
)
from peftkit.model.quantizing import keep_trainable_on_cpu, quantization_config
from peftkit.model.quiet import quiet
from peftkit.recipe import Model, Quantization, Recipe, locate

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

NAME = ("model", "name")


def load_config(settings: Model, fields: Mapping[str, Any] | None = None) -> PreTrainedConfig:
    """The model's config with `fields` set. Raises UserError when the model cannot be found."""
    from transformers import AutoConfig

    quiet()
    with _told_plainly(settings):
        return AutoConfig.from_pretrained(locate(settings.name), **_hub_arguments(settings), **(fields or {}))


def load_processor(settings: Model, task: Task) -> Any:
    """What turns rows into inputs: the model's tokenizer (its end-of-text token pads where it has no pad token), or its
    image processor."""
    import transformers

    quiet()
    with _told_plainly(settings):
        auto_class = getattr(transformers, task.processor_class)
        arguments = {**_hub_arguments(settings), **task.processor_arguments}
        processor: Any = auto_class.from_pretrained(locate(settings.name), **arguments)
    if is_tokenizer(processor) and processor.pad_token_id is None:
        processor.pad_token = processor.eos_token
    return processor


def is_tokenizer(processor: Any) -> bool:
    """Whether inputs are tokens, with a longest length and a token to pad with."""
    return hasattr(processor, "model_max_length")


def load_base(recipe: Recipe, task: Task, device: torch.device, seed: int | None = None) -> Base:
    """The base on `device`, frozen weights in the recipe's dtype or quantized, the head in float32 and never quantized.

    Sets every random generator first (the recipe's seed by default): head and adapter are drawn from it.

    Raises:
        UserError: the model is not there, or its checkpoint does not fit the architecture.
    """
    from transformers import set_seed

    empty, quantization, stored = _look(recipe, task)
    arguments = _arguments(recipe.model, empty.model.config)
    unquantized = partial(_load_whole, recipe, task) if quantization and not stored else None
    if quantization:
        keep_trainable_on_cpu()
        if stored:  # the checkpoint's own: transformers takes it from its config alone
            empty.model.config.quantization_config = stored
        else:
            arguments["quantization_config"] = quantization_config(quantization, recipe.model.dtype, empty.head)
        arguments["device_map"] = {"": device}
    set_seed(recipe.seed if seed is None else seed)
    with _told_plainly(recipe.model):
        model = _auto_class(task).from_pretrained(locate(recipe.model.name), **arguments)
    if not quantization:
        model.to(device)
    model.requires_grad_(False)
    for name in empty.head:
        model.get_submodule(name).float()  # a head in half precision would lose small updates
    return Base(model, empty.head, task.peft_task_type, empty.bits, unquantized)


def load_empty(recipe: Recipe, task: Task) -> Base:
    """The base without weights (on the meta device), its head told apart; no memory, a fraction of a second.

    Raises:
        UserError: the model is not there, or its checkpoint does not fit the architecture, the recipe's quantization or
            its method.
    """
    return _look(recipe, task)[0]


def _load_whole(recipe: Recipe, task: Task) -> Any:
    """The base in float32 on the CPU, as its checkpoint has it."""
    config = load_config(recipe.model, task.config())
    with _told_plainly(recipe.model):
        return _auto_class(task).from_pretrained(
            locate(recipe.model.name), **_arguments(recipe.model, config) | {"dtype": "float32"}
        )


def _look(recipe: Recipe, task: Task) -> tuple[Base, Quantization | None, Stored | None]:
    """The empty base, how its weights are quantized, and what to load a checkpoint with that was saved quantized."""
    config = load_config(recipe.model, task.config())
    if is_tokenizer(task.processor) and config.get_text_config().pad_token_id is None:
        config.pad_token_id = task.processor.pad_token_id
    stored = take_stored(config)
    quantization = agreed(recipe, stored).quantization
    with _told_plainly(recipe.model):
        model, info = _auto_class(task).from_pretrained(
            locate(recipe.model.name), **_arguments(recipe.model, config), device_map="meta", output_loading_info=True
        )
    model.requires_grad_(False)
    packed = packed_weights(info) if stored else set()
    head = head_modules(model, without_packed(info, packed), task.adds_head)
    if stored and quantization:
        refuse_packed_head(head, model, packed, recipe.model.name)
        stored = to_load(stored, quantization, model, packed)
    return Base(model, head, task.peft_task_type, quantization.bits if quantization else None), quantization, stored


def longest_input(config: PreTrainedConfig, tokenizer: Any) -> int | None:
    """Tokens that the model can read at once; None where neither config nor tokenizer sets a limit."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and config.model_type in OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit and 0 < limit < 10**9]
    return min(limits, default=None)


OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet")
"""Architectures that number positions from pad_token_id + 1, so that as many entries of the table are lost."""


def _hub_arguments(settings: Model) -> dict[str, Any]:
    return {"revision": settings.revision or "main", "trust_remote_code": settings.trust_remote_code}


def _arguments(settings: Model, config: PreTrainedConfig) -> dict[str, Any]:
    return {
        "config": config,
        "dtype": settings.dtype,
        "attn_implementation": settings.attention,
        "ignore_mismatched_sizes": True,  # a head for other classes is replaced; head_modules refuses the rest
        **_hub_arguments(settings),
    }


def _auto_class(task: Task) -> Any:
    import transformers

    return getattr(transformers, task.auto_class)


@contextmanager
def _told_plainly(settings: Model) -> Iterator[None]:
    """Turns the libraries' errors about a model that is not there or not loadable into one line."""
    from safetensors import SafetensorError

    location = locate(settings.name)
    try:
        yield
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if Path(location).is_dir() or not isinstance(error, OSError):
            raise UserError(f"{settings.name}: the model cannot be loaded: {first}", NAME) from error
        raise UserError(
            f"model {settings.name!r} is not a local folder and could not be had from the hub as {location!r} "
            "(unknown there, or the hub is out of reach); give a folder that holds config.json and the weights",
            NAME,
        ) from error
