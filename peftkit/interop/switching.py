"""Several adapters on one base that is loaded once: each line is predicted by every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.adapters.fitting import WEIGHTS_FILE
from peftkit.contracts import Prediction, Row
from peftkit.errors import UserError
from peftkit.interop.exporting import CHANGES_THE_BASE
from peftkit.interop.folders import folder_of_run
from peftkit.mixtures import method_of
from peftkit.output import saved_config
from peftkit.record import content_of
from peftkit.tasks import TASKS
from peftkit.trained import ADAPTER_CONFIG, Trained, load, recipe_in

if TYPE_CHECKING:
    from peftkit.contracts import Task
    from peftkit.recipe import Recipe


class Adapters:
    """Runs whose adapters lie on one base, by name: the last part of their folders, the whole path where two are alike.

    Raises:
        UserError: their bases, tasks, classes or kinds of adapter differ, or one changes the base that all share.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        paths = [folder_of_run(folder) for folder in folders]
        last = [path.resolve().name for path in paths]
        self.names = [name if last.count(name) == 1 else str(path) for name, path in zip(last, paths, strict=True)]
        configs = [_sharing_config(path) for path in paths]
        recipes = [recipe_in(path, ()) for path in paths]
        tasks = [_task(recipe, path) for recipe, path in zip(recipes, paths, strict=True)]
        for path, config, recipe, task in zip(paths, configs, recipes, tasks, strict=True):
            _refuse_unlike(paths[0], (configs[0], recipes[0], tasks[0]), path, (config, recipe, task))
        first = load(paths[0])
        self.model: Any = first.model
        self.inner = {self.names[0]: "default"}
        """peft's names, which may hold no dots."""
        self.trained = {self.names[0]: first}
        for number, (name, path) in enumerate(zip(self.names[1:], paths[1:], strict=True), 2):
            self.inner[name] = f"adapter{number}"
            self._add(self.inner[name], path)
            tasks[number - 1].equip(first.task.processor, self.model.config)
            method = method_of(recipes[number - 1].method)
            self.trained[name] = replace(first, recipe=recipes[number - 1], task=tasks[number - 1], method=method)
        self.select(self.names[0])

    def select(self, name: str) -> Trained:
        """Makes the named adapter and its head the ones that compute; the run it came from, ready to predict."""
        self.model.set_adapter(self.inner[name])
        return self.trained[name]

    def predict(self, lines: Sequence[str | Row]) -> dict[str, list[Prediction]]:
        """Every adapter's predictions, one a line, by the adapter's name."""
        return {name: self.select(name).predict(lines) for name in self.names}

    def _add(self, inner: str, path: Path) -> None:
        from peft import get_peft_model_state_dict
        from safetensors import safe_open

        try:
            self.model.load_adapter(str(path), adapter_name=inner)
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: cannot lie beside another adapter: {first}") from error
        with safe_open(path / WEIGHTS_FILE, framework="pt") as opened:
            there = set(opened.keys())
        wanted = set(get_peft_model_state_dict(self.model, adapter_name=inner, save_embedding_layers=False))
        if missing := sorted(wanted - there):
            raise UserError(f"{path}: truncated: {len(missing)} tensors are missing, e.g. {missing[0]}")


def _sharing_config(path: Path) -> dict[str, Any]:
    """The adapter's configuration. Raises UserError where it is none that can lie beside others on one base."""
    if not (path / ADAPTER_CONFIG).is_file():
        raise UserError(f"{path}: holds no {ADAPTER_CONFIG}; only adapters can share a base")
    config: dict[str, Any] = content_of(path / ADAPTER_CONFIG)
    if str(config.get("init_lora_weights")).startswith(CHANGES_THE_BASE):
        start = config["init_lora_weights"]
        raise UserError(f"{path}: {start} changes the base that all share; first: peftkit export {path} --lora")
    if config.get("bias", "none") != "none":
        raise UserError(f"{path}: its biases are the base's own, which all share; it can only be loaded alone")
    return config


def _task(recipe: Recipe, path: Path) -> Task:
    task = TASKS[recipe.task.name](recipe.task)
    task.restore(saved_config(path))
    return task


def _refuse_unlike(first: Path, ours: tuple[Any, Recipe, Task], other: Path, theirs: tuple[Any, Recipe, Task]) -> None:
    """Raises UserError where two runs cannot share a loaded model, naming what differs."""
    facts = {
        "kinds of adapter": [config.get("peft_type") for config, _, _ in (ours, theirs)],
        "bases": [recipe.model.name for _, recipe, _ in (ours, theirs)],
        "revisions of the base": [recipe.model.revision for _, recipe, _ in (ours, theirs)],
        "dtypes of the base": [recipe.model.dtype for _, recipe, _ in (ours, theirs)],
        "quantizations": [recipe.quantization for _, recipe, _ in (ours, theirs)],
        "tasks": [recipe.task for _, recipe, _ in (ours, theirs)],
        "classes": [list(task.config().get("id2label", {}).values()) for _, _, task in (ours, theirs)],
        "lengths that rows are cut to": [recipe.training.max_length for _, recipe, _ in (ours, theirs)],
    }
    for what, (one, two) in facts.items():
        if one != two:
            raise UserError(f"{first} and {other} cannot share a loaded base: their {what} differ ({one}; {two})")
