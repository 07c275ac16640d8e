"""The verb: a recipe goes in, a record comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peftkit.contracts import Watcher
from peftkit.data import Batches, Given
from peftkit.errors import located
from peftkit.evaluate import check_metrics, evaluate
from peftkit.journal import Journal
from peftkit.mixtures import method_of
from peftkit.model import load_base
from peftkit.model.preparing import prepare
from peftkit.output import CHECKPOINTS, check_reload, claim, clear, save_run
from peftkit.reading import read_rows
from peftkit.recipe import Recipe
from peftkit.record import Record
from peftkit.tasks import TASKS
from peftkit.training import Guard, Loop, import_stack, make_accelerator, optimization, plan_steps, track


def run(
    recipe: Recipe,
    output: str | Path | None = None,
    *,
    rows: Given | None = None,
    overwrite: bool = False,
    watchers: Sequence[Watcher] = (),
) -> Record:
    """Trains and scores what `recipe` says; everything it leaves behind lies in `output`.

    `rows` are those of a recipe whose ``data.source`` is ``given``: an iterable of rows by split, or one to train on.
    Without `output` nothing is kept but the returned record. A run that fails, runs out of memory or is interrupted
    leaves a record that says so, and raises; a user's mistake leaves nothing.

    Raises:
        UserError: the recipe asks for something that is not there or cannot be.
        OutOfMemory: the device had no memory left.
    """
    method, task = method_of(recipe.method), TASKS[recipe.task.name](recipe.task)
    with located(recipe.place), claim(output, overwrite) as folder, Journal(recipe, folder, watchers) as journal:
        with journal.phase("import"):
            import_stack()
            accelerator = make_accelerator(recipe, folder)
            journal.join(accelerator, track(accelerator, recipe))
        with journal.phase("tokenize"):
            encoded, limit = read_rows(recipe, method, task, rows)
            check_metrics(task, recipe.training)
            steps = plan_steps(recipe.training, len(encoded["train"]), accelerator.num_processes)
            journal.resolve(encoded, max_length=limit, total_steps=steps)
        with journal.phase("load"):
            base = load_base(recipe, task, accelerator.device)
            guard = Guard(accelerator, method, base, task, encoded["train"])
            journal.watchers.append(guard)
            model = method.attach(base, steps)
            method.initialize(model, Batches(encoded["train"], task, recipe, accelerator.device))
            model = prepare(model, recipe.training)
            updates = optimization(recipe.training, method.factors(model))
            journal.model_ready(model)

        def judge(split: str) -> dict[str, float]:
            with journal.phase("evaluate"):
                size, calibrate = recipe.training.eval_batch_size, split == "validation"
                result = evaluate(model, encoded[split], task, accelerator, size, calibrate=calibrate)
            return journal.scored(split, result)

        with journal.phase("train"):
            if accelerator.is_main_process:
                clear(folder)
            accelerator.wait_for_everyone()
            loop = Loop(
                accelerator=accelerator,
                model=model,
                task=task,
                rows=encoded["train"],
                training=recipe.training,
                learning_rate=recipe.training.learning_rate or method.learning_rate,
                optimization=updates,
                seed=recipe.seed,
                total_steps=steps,
                hooks=method.hooks(model),
                watchers=journal.watchers,
                evaluate=lambda: judge("validation"),
                checkpoints=folder / CHECKPOINTS,
                history=journal.history,
            )
            loop.run()
            journal.trained(loop, method.reach(model) | method.outcome(model) | guard.findings())
        if task.calibrated or "test" not in encoded:
            judge("validation")
        if "test" in encoded:
            judge("test")
        with journal.phase("save"):
            loop.release()
            if accelerator.is_main_process:
                save_run(model, method, task, recipe, folder)
                journal.saved(folder)
                check_reload(model, method, task, recipe, encoded["train"], folder, accelerator)
            accelerator.wait_for_everyone()
    return journal.record
