"""Everything about a run but the run: data read, model found, adapter attached to an empty model, steps counted."""

from __future__ import annotations

from typing import Any

from peftkit.adapters.targets import collapsed
from peftkit.contracts import Base
from peftkit.data import Given
from peftkit.errors import UserError, located
from peftkit.evaluate import check_metrics
from peftkit.mixtures import method_of
from peftkit.model import load_base, load_empty
from peftkit.model.preparing import prepare
from peftkit.probes.parameters import count
from peftkit.reading import read_rows
from peftkit.recipe import Recipe
from peftkit.tasks import TASKS
from peftkit.training import check_trackers, optimization, plan_steps
from peftkit.training.loop import effective_batch_size


def rehearse(recipe: Recipe, rows: Given | None = None) -> dict[str, Any]:
    """What a run of this recipe on one process would do, as plain data.

    Nothing is trained, and no weight is loaded unless the method's initialisation needs it.

    Raises:
        UserError: what a run would raise: data, columns, model, targets, schedule.
    """
    import torch

    method, task = method_of(recipe.method), TASKS[recipe.task.name](recipe.task)
    with located(recipe.place):
        check_trackers(recipe.training.report_to)
        encoded, limit = read_rows(recipe, method, task, rows)
        check_metrics(task, recipe.training)
        steps = plan_steps(recipe.training, len(encoded["train"]), 1)
        for objection in method.objections(steps):
            raise UserError(objection, ("method",))
        base: Base = load_empty(recipe, task)
        try:
            model = prepare(method.attach(base, steps), recipe.training)
        except RuntimeError:  # an initialisation that looks at the weights (PiSSA, OLoRA)
            base = load_base(recipe, task, torch.device("cpu"))
            model = prepare(method.attach(base, steps), recipe.training)
        optimization(recipe.training, method.factors(model))  # some freeze a part of what the method trains
        trainable, total = count(model)
    return {
        "recipe_hash": recipe.hash,
        "rows": {split: len(part.rows) for split, part in encoded.items()},
        "data": {split: part.summary() for split, part in encoded.items()},
        "model": task.config(),
        "head": list(base.head),
        "max_length": limit,
        "learning_rate": recipe.training.learning_rate or method.learning_rate,
        "effective_batch_size": effective_batch_size(recipe.training, 1),
        "optimizer_steps": steps,
        "trainable_parameters": trainable,
        "total_parameters": total,
        "trained": collapsed(name for name, parameter in model.named_parameters() if parameter.requires_grad),
        "method": method.reach(model),
    }
