"""A trainable model made ready for the loop: precision of what is trained, checkpointing, the longest input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftkit.contracts import Method
from peftkit.errors import UserError
from peftkit.model.loading import is_tokenizer, load_config, longest_input
from peftkit.recipe import Recipe, Training

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedConfig

POSITIONS = ("max_position_embeddings", "max_decoder_position_embeddings")
"""Where configs say how many tokens a model can place; the second is LED's decoder."""


def prepare(model: Any, training: Training) -> Module:
    """Trained parameters in float32, so that no small update is lost to rounding; gradient checkpointing where asked.

    Raises:
        UserError: nothing is trainable.
    """
    import torch

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise UserError("the method leaves nothing to train in this model", ("method",))
    for parameter in trainable:
        if parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()
    if training.gradient_checkpointing:
        try:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        except ValueError as error:
            raise UserError(str(error).splitlines()[0], ("training", "gradient_checkpointing")) from error
    prepared: Module = model
    return prepared


def leave_room(config: PreTrainedConfig, taken: int) -> None:
    """Takes so many from the positions that `config` says the model has: the rest is for text, read or written.

    Virtual tokens have positions too, the first ones; where a model has learnt its positions it would otherwise run out
    of them in the middle of writing.
    """
    text = config.get_text_config()
    for part in [config] if text is config else [config, text]:
        for name in POSITIONS:
            if (positions := getattr(part, name, None)) is not None:
                setattr(part, name, max(positions - taken, 0))


def input_limit(recipe: Recipe, method: Method, processor: Any) -> int | None:
    """Tokens that rows are cut to, None where rows are no text.

    Raises:
        UserError: the recipe asks for more than the model can read.
    """
    asked = recipe.training.max_length
    if not is_tokenizer(processor):
        if asked is not None:
            raise UserError("this task reads no text; leave it out", ("training", "max_length"))
        return None
    longest = longest_input(load_config(recipe.model), processor)
    room = None if longest is None else longest - method.virtual_tokens()
    if asked is None and room is None:
        raise UserError("the model sets no limit to its input; give max_length", ("training", "max_length"))
    if room is not None and room < 1:
        raise UserError(f"{method.settings.name} leaves no room: the model reads {longest} tokens", ("method",))
    if asked is not None and room is not None and asked > room:
        taken = (
            f", {method.virtual_tokens()} of them taken by {method.settings.name}" if method.virtual_tokens() else ""
        )
        raise UserError(
            f"{asked} tokens asked, but the model reads at most {longest}{taken}", ("training", "max_length")
        )
    return asked or room or 0
