"""Every task of the table keeps the contract, on its toy."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import peftkit
from peftkit.contracts import Task
from peftkit.data import Encoded, encode, load_splits
from peftkit.errors import UserError
from peftkit.evaluate import evaluate, read
from peftkit.metrics import METRICS, direction
from peftkit.model import load_base, load_config, load_processor
from peftkit.recipe import Recipe, check
from peftkit.record import PREDICTIONS_FILE
from peftkit.tasks import TASKS
from peftkit.training import make_accelerator
from tests.conftest import write_jsonl
from tests.toy_tasks import TOYS, Toy

CPU = torch.device("cpu")


def recipe_for(toy: Toy, toys: Any, folder: Path, method: Any = "lora", **data: Any) -> Recipe:
    """A recipe over the toy's model, with its rows written into `folder`."""
    for split, count, offset in (("train", 96, 0), ("validation", 24, 200), ("test", 31, 300)):
        write_jsonl(folder / f"{split}.jsonl", toy.rows(count, offset))
    training = {"epochs": 8.0, "batch_size": 8, "learning_rate": 1e-2, "eval_batch_size": 5, "eval_strategy": "no"}
    if TASKS[toy.task["name"]].processor_class == "AutoTokenizer":
        training["max_length"] = 32
    return check(
        {
            "model": str(toys(toy.kind, toy.auto_class)),
            "method": method,
            "task": toy.task,
            "data": {"source": str(folder), **data},
            "training": training | toy.training,
        },
        {},
    )


def ready(recipe: Recipe) -> Task:
    """The recipe's task, having learnt from its rows."""
    task = TASKS[recipe.task.name](recipe.task)
    task.learn(load_splits(recipe.data, task)["train"])
    task.equip(load_processor(recipe.model, task), load_config(recipe.model))
    return task


def equipped(recipe: Recipe) -> tuple[Task, Encoded]:
    """The task, ready, and its test rows."""
    task = ready(recipe)
    return task, encode(load_splits(recipe.data, task)["test"], task, recipe.training.max_length)


def test_every_task_has_a_toy() -> None:
    assert {name.partition(",")[0] for name in TOYS} == set(TASKS)


@pytest.mark.parametrize("name", TOYS)
class TestTask:
    """What holds for every task."""

    def test_it_learns_is_saved_and_scores_the_same_when_loaded(self, name: str, toys: Any, tmp_path: Path) -> None:
        import pyarrow.parquet

        toy = TOYS[name]
        recipe = recipe_for(toy, toys, tmp_path)
        record = peftkit.run(recipe, tmp_path / "run")
        metric, bound = toy.learns
        score = record.scores[metric]
        assert score >= bound if direction(metric) == "higher" else score <= bound, record.scores
        assert record.scores.keys() >= set(TASKS[recipe.task.name](recipe.task).metrics) | {"loss"}
        json.dumps(record.detail)
        again = peftkit.load(tmp_path / "run")
        assert again.evaluate("test").scores == pytest.approx(record.scores, rel=1e-4, nan_ok=True)
        table = pyarrow.parquet.read_table(tmp_path / "run" / PREDICTIONS_FILE).to_pylist()
        assert [row["row"] for row in table] == list(range(31))
        assert [row["source_row"] for row in table] == list(range(1, 32))

    def test_the_loss_is_a_sum_and_reading_does_not_depend_on_the_batch(
        self, name: str, toys: Any, tmp_path: Path
    ) -> None:
        recipe = recipe_for(TOYS[name], toys, tmp_path)
        task, rows = equipped(recipe)
        base = load_base(recipe, task, CPU)
        base.model.eval()
        batch = task.collate(rows.examples[:6])
        assert (
            batch.padded_tokens >= sum(rows.lengths[:6]) or TASKS[recipe.task.name].processor_class != "AutoTokenizer"
        )
        single = [task.collate([example]) for example in rows.examples[:6]]
        with torch.no_grad():
            whole = task.loss(base.model(**batch.inputs), batch)
            parts = sum(task.loss(base.model(**one.inputs), one) for one in single)
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)
        assert whole.dtype == torch.float32 and whole.ndim == 0
        assert task.supervised(batch) == sum(map(task.supervised, single)) > 0
        accelerator = make_accelerator(recipe, tmp_path)
        found = [evaluate(base.model, rows, task, accelerator, size) for size in (1, 7)]
        assert found[0].scores == pytest.approx(found[1].scores, rel=1e-4, nan_ok=True)
        assert len(found[0].predictions) == len(found[0].references) == 31

    def test_its_predictions_have_what_its_metrics_read(self, name: str, toys: Any, tmp_path: Path) -> None:
        recipe = recipe_for(TOYS[name], toys, tmp_path)
        task, rows = equipped(recipe)
        base = load_base(recipe, task, CPU)
        found = evaluate(base.model, rows, task, make_accelerator(recipe, tmp_path), 8)
        for prediction in found.predictions:
            assert set(task.gives) <= set(prediction)
            json.dumps(prediction)
        assert all(set(METRICS[metric].reads) & set(task.gives) for metric in task.metrics)

    def test_a_row_that_cannot_be_read_is_refused_by_its_number_or_dropped_and_counted(
        self, name: str, toys: Any, tmp_path: Path
    ) -> None:
        toy = TOYS[name]
        recipe = recipe_for(toy, toys, tmp_path, invalid_rows="drop")
        rows = toy.rows(31, 300)
        rows[4] = {**rows[4], **toy.spoiled}
        write_jsonl(tmp_path / "test.jsonl", rows)
        task = TASKS[recipe.task.name](recipe.task)
        splits = load_splits(recipe.data, task)
        task.learn(splits["train"])
        task.equip(load_processor(recipe.model, task), load_config(recipe.model))
        limit = recipe.training.max_length
        with pytest.raises(UserError, match=f"^split test, row 5: .*{toy.refused}") as error:
            encode(splits["test"], task, limit, split="test")
        assert "\n" not in str(error.value)
        kept = encode(splits["test"], task, limit, split="test", invalid_rows="drop")
        assert len(kept.rows) == len(kept.references) == 30 and sum(kept.dropped.values()) == 1

    def test_readings_come_back_row_by_row(self, name: str, toys: Any, tmp_path: Path) -> None:
        recipe = recipe_for(TOYS[name], toys, tmp_path)
        task, rows = equipped(recipe)
        base = load_base(recipe, task, CPU)
        accelerator = make_accelerator(recipe, tmp_path)
        whole = read(base.model, rows, task, accelerator, 4)[0]
        order = list(range(len(rows.rows)))
        random.Random(0).shuffle(order)
        mixed = encode(rows.rows.select(order), task, recipe.training.max_length)
        assert [len(readings) for readings in read(base.model, mixed, task, accelerator, 4)[0]] == [
            len(whole[number]) for number in order
        ]
        assert mixed.references == [rows.references[number] for number in order]
        assert dataclasses.replace(mixed, rows=rows.rows).summary()["tokens"] == rows.summary()["tokens"]
