"""The rows of a recipe as what goes through its model: found, split, learnt from, encoded."""

from __future__ import annotations

from peftkit.contracts import Method, Task
from peftkit.data import Encoded, Given, encode, load_splits
from peftkit.errors import UserError
from peftkit.examples.vocabulary import tokens_beyond
from peftkit.model import is_tokenizer, load_config, load_processor
from peftkit.model.preparing import input_limit, leave_room
from peftkit.recipe import Recipe, capability_objections


def read_rows(
    recipe: Recipe, method: Method, task: Task, given: Given | None = None
) -> tuple[dict[str, Encoded], int | None]:
    """Every split, and the tokens that its rows are cut to; the task has learnt from the training rows.

    Raises:
        UserError: data, columns or model are not there, or a row cannot be read.
    """
    splits = load_splits(recipe.data, task, given)
    task.learn(splits["train"])
    limit = ready(recipe, method, task)
    wrong = recipe.data.invalid_rows
    return {split: encode(rows, task, limit, split=split, invalid_rows=wrong) for split, rows in splits.items()}, limit


def ready(recipe: Recipe, method: Method, task: Task) -> int | None:
    """Gives the task its processor; returns the tokens that rows are cut to, None where they are no text."""
    config = load_config(recipe.model)
    for key, reason in capability_objections(recipe, config.model_type):  # a base on the hub is known only now
        raise UserError(reason, key)
    processor = load_processor(recipe.model, task)
    if is_tokenizer(processor):
        task.beyond = tokens_beyond(processor, config)
    if taken := method.virtual_tokens():
        leave_room(config, taken)
    task.equip(processor, config)
    return input_limit(recipe, method, task.processor)
