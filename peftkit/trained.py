"""A trained run, loaded again, or the base before any training: to predict, and to score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Method, Prediction, Row, Task
from peftkit.data import Encoded, Given, encode, load_splits, load_whole, with_files
from peftkit.errors import UserError, located, unknown
from peftkit.evaluate import Evaluation, evaluate, predict
from peftkit.methods import METHODS
from peftkit.mixtures import method_of
from peftkit.model import load_base
from peftkit.output import RECIPE_FILE, saved_config
from peftkit.reading import ready
from peftkit.recipe import Recipe, check, load_recipe
from peftkit.recipe.reading import Places, lay_over
from peftkit.record import content_of
from peftkit.tasks import TASKS
from peftkit.training import make_accelerator

if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset
    from torch.nn import Module

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
    accelerator: Accelerator
    max_length: int | None
    other_data: bool = False
    """Whether its data is not what it was trained on: then a split is scored whole, nothing is cut from it."""

    def predict(self, lines: Sequence[str | Row]) -> list[Prediction]:
        """One prediction a row, or a line of text, e.g. ``{"label": "refund", "score": 0.93}``.

        Raises:
            UserError: a line or row cannot be read, by its number.
        """
        from datasets import Dataset

        if not lines:
            return []
        if isinstance(lines, str):
            raise UserError(f"expected a list of lines or rows, given the text {lines!r:.60}")
        given = [self._row(number, line) for number, line in enumerate(lines, 1)]
        found = with_files(Dataset.from_list(given), self.task, Path.cwd())
        rows = encode(found, self.task, self.max_length, split="given", labelled=False)
        return predict(self.model, rows, self.task, self.accelerator, self.recipe.training.eval_batch_size)

    def evaluate(self, split: str | None = None, rows: Given | None = None) -> Evaluation:
        """Scores on a split of the recipe's data, or of `rows` where they came from Python.

        By default the split that a run scores: test, or validation where there are no test rows.

        Raises:
            UserError: there is no such split, or a row cannot be read.
        """
        encoded = self.encoded(split, rows)
        return evaluate(self.model, encoded, self.task, self.accelerator, self.recipe.training.eval_batch_size)

    def encoded(self, split: str | None = None, rows: Given | None = None) -> Encoded:
        """A split of the recipe's data, or of `rows`, as what goes through the model. Raises as `evaluate` does."""
        if self.recipe.data.source == NO_ROWS:
            raise UserError("an adapter brings no rows to score; give data.source=…")
        data = self.recipe.data
        with located(self.recipe.place):
            name, part = self._rows(split, rows)
            return encode(part, self.task, self.max_length, split=name, invalid_rows=data.invalid_rows)

    def _rows(self, split: str | None, given: Given | None) -> tuple[str, Dataset]:
        """The split that is asked for, by its name, and its rows."""
        if self.other_data:
            name = split or "test"
            return name, load_whole(self.recipe.data, self.task, name, given)
        splits = load_splits(self.recipe.data, self.task, given)
        name = split or ("test" if "test" in splits else "validation")
        if name not in splits:
            raise UserError(unknown("split", name, splits))
        return name, splits[name]

    def _row(self, number: int, line: str | Row) -> dict[str, Any]:
        """A line or a row as a row; its number is told where it is neither."""
        if isinstance(line, str):
            if not line.strip():
                raise UserError(f"row {number}: an empty line, which says nothing to predict from")
            return self.task.row(line)
        if not isinstance(line, Mapping):
            raise UserError(f"row {number}: expected text, or a dict of columns, given {line!r:.60}")
        return dict(line)


def load(folder: str | Path, overrides: Sequence[str] = ()) -> Trained:
    """A run's output folder, or an adapter's folder with a ``model_config.json`` that names the classes.

    `overrides` are laid over the run's recipe (``data.source=…`` to score on other rows).

    Raises:
        UserError: there is no run in the folder, or it does not fit its base model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    recipe = recipe_in(folder, overrides)
    method, task = method_of(recipe.method), TASKS[recipe.task.name](recipe.task)
    task.restore(saved_config(folder))
    accelerator = make_accelerator(recipe, folder)
    with located(recipe.place):
        limit = ready(recipe, method, task)
        base = load_base(recipe, task, accelerator.device)
        model = method.load(base, folder).to(accelerator.device)
    other = any(override.startswith(("data=", "data.source=")) for override in overrides)
    return Trained(recipe, task, method, model, accelerator, limit, other)


def untrained(recipe: Recipe) -> Trained:
    """The recipe's base as it is, with a fresh head where the task adds one: what training is to improve on.

    Raises:
        UserError: what a run would raise before its first step.
    """
    method, task = method_of(recipe.method), TASKS[recipe.task.name](recipe.task)
    accelerator = make_accelerator(recipe, Path())
    with located(recipe.place):
        task.learn(load_splits(recipe.data, task)["train"])
        limit = ready(recipe, method, task)
        model = load_base(recipe, task, accelerator.device).model
    return Trained(recipe, task, method, model, accelerator, limit)


def recipe_in(folder: Path, overrides: Sequence[str]) -> Recipe:
    """The run's own recipe, or one made up from an adapter's configuration; no weights are loaded. Raises UserError."""
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
