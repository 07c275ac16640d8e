"""A trained run, loaded again: to predict, and to score on other rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Method, Task
from peftkit.data import encode, load_splits, load_whole
from peftkit.errors import UserError, located, unknown
from peftkit.evaluate import Evaluation, evaluate, predict
from peftkit.methods import METHODS
from peftkit.model import load_base, load_tokenizer
from peftkit.model.preparing import input_limit
from peftkit.output import RECIPE_FILE, saved_config
from peftkit.recipe import Recipe, check, load_recipe
from peftkit.recipe.reading import Places, lay_over
from peftkit.record import content_of
from peftkit.tasks import TASKS
from peftkit.training import make_accelerator

if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset
    from torch.nn import Module
    from transformers import PreTrainedTokenizerBase

ADAPTER_CONFIG = "adapter_config.json"
NO_ROWS = "none"
"""Source of a recipe that is made up from an adapter: it brings no rows to score."""


@dataclass(frozen=True)
class Trained:
    """A model ready to predict, with what it needs to read rows."""

    recipe: Recipe
    task: Task
    method: Method
    model: Module
    tokenizer: PreTrainedTokenizerBase
    accelerator: Accelerator
    max_length: int
    other_data: bool = False
    """Whether its data is not what it was trained on: then a split is scored whole, nothing is cut from it."""

    def predict(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """One prediction a line of text, e.g. ``{"label": "refund", "score": 0.93}``; the score is a probability."""
        from datasets import Dataset

        if not lines:
            return []
        rows = encode(
            Dataset.from_list([self.task.row(line) for line in lines]),
            self.task,
            self.tokenizer,
            self.max_length,
            labelled=False,
        )
        size = self.recipe.training.eval_batch_size
        return predict(self.model, rows, self.task, self.tokenizer, self.accelerator, size)[0]

    def evaluate(self, split: str = "test") -> Evaluation:
        """Scores on a split of the recipe's data. Raises UserError when the data has no such split."""
        if self.recipe.data.source == NO_ROWS:
            raise UserError("an adapter brings no rows to score; give data.source=…")
        with located(self.recipe.place):
            part = self._rows(split)
            self.task.check_known(part, split)
        rows = encode(part, self.task, self.tokenizer, self.max_length)
        size = self.recipe.training.eval_batch_size
        return evaluate(self.model, rows, self.task, self.tokenizer, self.accelerator, size)

    def _rows(self, split: str) -> Dataset:
        if self.other_data:
            return load_whole(self.recipe.data, self.task, split)
        splits = load_splits(self.recipe.data, self.task)
        if split not in splits:
            raise UserError(unknown("split", split, splits))
        return splits[split]


def load(folder: str | Path, overrides: Sequence[str] = ()) -> Trained:
    """A run's output folder, or an adapter's folder with a ``model_config.json`` that names the classes.

    `overrides` are laid over the run's recipe (``data.source=…`` to score on other rows).

    Raises:
        UserError: there is no run in the folder, or it does not fit its base model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    recipe = _recipe(folder, overrides)
    method, task = METHODS[recipe.method.name](recipe.method), TASKS[recipe.task.name](recipe.task)
    task.restore(saved_config(folder))
    accelerator = make_accelerator(recipe, folder)
    with located(recipe.place):
        tokenizer = load_tokenizer(recipe.model)
        base = load_base(recipe, task, tokenizer, accelerator.device)
        model = method.load(base, folder).to(accelerator.device)
        limit = input_limit(recipe, method, tokenizer)
    other = any(override.startswith(("data=", "data.source=")) for override in overrides)
    return Trained(recipe, task, method, model, tokenizer, accelerator, limit, other)


def _recipe(folder: Path, overrides: Sequence[str]) -> Recipe:
    """The run's own recipe, or one made up from an adapter's configuration."""
    if (folder / RECIPE_FILE).is_file():
        recipe = load_recipe(folder / RECIPE_FILE, ["training.report_to=[]", *overrides])
        if (trained := load_recipe(folder / RECIPE_FILE).method) != recipe.method:
            raise UserError(f"{folder}: trained with {trained.name} as its recipe says; it cannot be loaded as another")
        return recipe
    if not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(f"{folder}: holds neither {RECIPE_FILE} (a run of peftkit) nor {ADAPTER_CONFIG} (an adapter)")
    config = content_of(folder / ADAPTER_CONFIG)
    makers = {kind: name for name, method in METHODS.items() if (kind := getattr(method, "peft_type", None))}
    if config["peft_type"] not in makers:
        raise UserError(unknown("adapter type", config["peft_type"], makers))
    data: dict[str, Any] = {
        "model": config["base_model_name_or_path"],
        "method": makers[config["peft_type"]],
        "task": "text-classification",
        "data": NO_ROWS,
    }
    places: Places = {}
    lay_over(data, places, overrides)
    return check(data, places)
