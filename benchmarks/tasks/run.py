"""One real run for each kind of data that a task is for, and the score that no training gets.

``python benchmarks/tasks/run.py [NAME …]`` from the checkout, beside which ``../shared`` holds the data sets and small
models. Runs whose record is there are not run again. Records and baselines are kept in ``benchmarks/results/tasks``;
what was trained stays in ``runs/tasks``. ``docs/generate.py`` makes the table of docs/tasks.md from them.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bases import main as make_base

from peftkit import bench, load_recipe
from peftkit.contracts import Task
from peftkit.data import load_splits
from peftkit.interop import merge
from peftkit.metrics import metric
from peftkit.recipe import Recipe
from peftkit.record import RECORD_FILE, Record
from peftkit.suites import Cell
from peftkit.tasks import TASKS
from peftkit.trained import untrained

HERE = Path(__file__).parent
SHARED, RUNS, RESULTS = Path("../shared"), Path("runs/tasks"), HERE.parent / "results" / "tasks"
BASELINE_FILE = "baseline.json"
BASES = {
    "t5-en": [
        *("toy_t5", "build/bases/t5-en", "../shared/data/scitldr/train.jsonl.gz"),
        *("--columns", "document", "summary"),
    ],
    "t5-en-zh": [
        *("toy_t5", "build/bases/t5-en-zh", "../shared/data/tatoeba_en_zh/train.jsonl.gz"),
        *("--columns", "en", "zh"),
    ],
    "small-vit": ["small_vit", "build/bases/small-vit"],
}
"""What makes the bases that no file holds: arguments of bases.py by folder."""
MERGED = {"squad_v2": ("squad_v1", Path("build/bases/minilm-squad"))}
"""Runs that begin where another ended: whose adapter is merged, and where to."""
TRAINED_BEFORE = ("sign_digits-lora", *MERGED)
"""Runs whose base knows the task already: what it scores by itself is what they are held against."""


def main(names: Sequence[str]) -> None:
    """Runs what is asked for, all by default."""
    if not SHARED.is_dir():
        print(f"skipped: {SHARED} is not here; it holds the data sets and small models of these runs")
        return
    there = {path.stem: path for path in sorted((HERE / "recipes").glob("*.yaml"))}
    for folder, arguments in BASES.items():
        if not (Path("build/bases") / folder).is_dir():
            make_base(arguments)
    for name in names or there:
        run(name, load_recipe(there[name]))


def run(name: str, recipe: Recipe) -> None:
    """Trains in a process of its own, keeps the record, and scores what it is to be held against."""
    kept = RESULTS / name
    if name in MERGED and not MERGED[name][1].is_dir():
        before, folder = MERGED[name]
        merge(RUNS / "cells" / before, folder)
    if (kept / RECORD_FILE).exists() and Record.load(kept).status == "ok":
        return
    result = bench([Cell(name, recipe)], RUNS, rerun_failed=True)
    print(name, result.records[name].status, result.records[name].scores)
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy(RUNS / "cells" / name / RECORD_FILE, kept / RECORD_FILE)
    found = baseline(recipe, trained_before=name in TRAINED_BEFORE)
    (kept / BASELINE_FILE).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(name, found)


def baseline(recipe: Recipe, *, trained_before: bool) -> dict[str, Any]:
    """``{"what": …, "scores": …}``: the base before training where it brings its head, else a constant answer."""
    task = TASKS[recipe.task.name](recipe.task)
    if trained_before or not task.adds_head:
        return {"what": "the base before training", "scores": untrained(recipe).evaluate("test").scores}
    splits = load_splits(recipe.data, task)
    task.learn(splits["train"])
    what, predictions = constant(task, *([task.reference(row) for row in splits[split]] for split in ("train", "test")))
    references = [task.reference(row) for row in splits["test"]]
    return {"what": what, "scores": {name: metric(name).compute(predictions, references) for name in task.metrics[:2]}}


def constant(task: Task, train: list[Any], test: list[Any]) -> tuple[str, list[dict[str, Any]]]:
    """What is said of every row alike, in words and as predictions."""
    match task.gives[0]:
        case "label":
            label = Counter(train).most_common(1)[0][0]
            return "always the commonest class", [{"label": label}] * len(test)
        case "labels":
            label = Counter(label for labels in train for label in labels).most_common(1)[0][0]
            return "always the commonest label", [{"labels": [label]}] * len(test)
        case "tags":
            return "always O", [{"tags": ["O"] * len(tags)} for tags in test]
        case "answer":
            return "always no answer", [{"answer": ""}] * len(test)
        case other:
            raise NotImplementedError(other)


if __name__ == "__main__":
    main(sys.argv[1:])
