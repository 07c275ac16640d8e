"""The verb: a recipe goes in, a record comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peftkit.contracts import Watcher
from peftkit.data import encode, load_splits
from peftkit.errors import located
from peftkit.evaluate import evaluate
from peftkit.journal import Journal
from peftkit.methods import METHODS
from peftkit.model import load_base, load_tokenizer
from peftkit.model.preparing import input_limit, prepare
from peftkit.output import CHECKPOINTS, check_reload, claim, clear, save_run
from peftkit.recipe import Recipe
from peftkit.record import Record
from peftkit.tasks import TASKS
from peftkit.training import Loop, import_stack, make_accelerator, plan_steps, track


def run(
    recipe: Recipe, output: str | Path | None = None, *, overwrite: bool = False, watchers: Sequence[Watcher] = ()
) -> Record:
    """Trains and scores what `recipe` says; everything it leaves behind lies in `output`.

    Without `output` nothing is kept but the returned record. A run that fails, runs out of memory or is interrupted
    leaves a record that says so, and raises; a user's mistake leaves nothing.

    Raises:
        UserError: the recipe asks for something that is not there or cannot be.
        OutOfMemory: the device had no memory left.
    """
    method, task = METHODS[recipe.method.name](recipe.method), TASKS[recipe.task.name](recipe.task)
    with located(recipe.place), claim(output, overwrite) as folder, Journal(recipe, folder, watchers) as journal:
        with journal.phase("import"):
            import_stack()
            accelerator = make_accelerator(recipe, folder)
            journal.join(accelerator, track(accelerator, recipe))
        with journal.phase("tokenize"):
            splits = load_splits(recipe.data, task)
            task.learn(splits)
            tokenizer = load_tokenizer(recipe.model)
            limit = input_limit(recipe, method, tokenizer)
            rows = {split: encode(part, task, tokenizer, limit) for split, part in splits.items()}
            steps = plan_steps(recipe.training, len(rows["train"]), accelerator.num_processes)
            journal.resolve(rows, max_length=limit, total_steps=steps)
        with journal.phase("load"):
            base = load_base(recipe, task, tokenizer, accelerator.device)
            model = prepare(method.attach(base, steps), recipe.training)
            journal.model_ready(model)

        def judge(split: str) -> dict[str, float]:
            with journal.phase("evaluate"):
                result = evaluate(model, rows[split], task, tokenizer, accelerator, recipe.training.eval_batch_size)
            return journal.scored(split, result)

        with journal.phase("train"):
            if accelerator.is_main_process:
                clear(folder)
            accelerator.wait_for_everyone()
            loop = Loop(
                accelerator=accelerator,
                model=model,
                task=task,
                tokenizer=tokenizer,
                rows=rows["train"],
                training=recipe.training,
                learning_rate=recipe.training.learning_rate or method.learning_rate,
                seed=recipe.seed,
                total_steps=steps,
                hooks=method.hooks(model),
                watchers=journal.watchers,
                evaluate=lambda: judge("validation"),
                checkpoints=folder / CHECKPOINTS,
                history=journal.history,
            )
            loop.run()
            journal.trained(loop, method.reach(model) | method.outcome(model))
        judge("test" if "test" in rows else "validation")
        with journal.phase("save"):
            loop.release()
            if accelerator.is_main_process:
                save_run(model, method, tokenizer, recipe, folder)
                journal.saved(folder)
                check_reload(model, method, tokenizer, recipe, task, rows["train"], folder, accelerator)
            accelerator.wait_for_everyone()
    return journal.record
