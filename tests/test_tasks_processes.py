"""Two processes score every task as one does, also where neither rows nor batches can be divided by two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.toy_tasks import TOYS

ROWS, SIZE = 29, 4
"""8 batches with one row in the last; the longest batch of windows differs between tasks."""


def score_all(folder: str) -> None:
    """What one process finds for every toy, written by its rank. Runs in a process of its own."""
    import torch

    torch.set_num_threads(1)
    from accelerate.state import AcceleratorState, PartialState

    from peftkit.data import encode, load_splits
    from peftkit.evaluate import evaluate
    from peftkit.model import load_base
    from peftkit.recipe import load_recipe
    from peftkit.training import make_accelerator
    from tests.test_tasks import ready

    PartialState._reset_state()  # a forked process inherits what earlier tests made
    found = {}
    for name in TOYS:
        recipe = load_recipe(Path(folder) / f"{name}.yaml")
        AcceleratorState._reset_state()
        accelerator = make_accelerator(recipe, Path(folder))
        task = ready(recipe)
        rows = encode(load_splits(recipe.data, task)["test"].select(range(ROWS)), task, recipe.training.max_length)
        base = load_base(recipe, task, accelerator.device)
        result = evaluate(base.model, rows, task, accelerator, SIZE, calibrate=True)
        found[name] = {"scores": result.scores, "predictions": result.predictions, "detail": result.detail}
        processes = accelerator.num_processes
    file = f"{accelerator.process_index}-of-{processes}.json"
    (Path(folder) / file).write_text(json.dumps(found))


@pytest.mark.slow
def test_two_processes_score_every_task_as_one_does(tmp_path: Path, toys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import debug_launcher

    from tests.test_tasks import recipe_for

    for name, toy in TOYS.items():
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.yaml").write_text(recipe_for(toy, toys, tmp_path / name).to_yaml())
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    debug_launcher(score_all, (str(tmp_path),), num_processes=2)
    score_all(str(tmp_path))
    names = ("0-of-1", "0-of-2", "1-of-2")
    one, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in names)
    assert first == second, "every process has the whole"
    for name in TOYS:
        assert len(one[name]["predictions"]) == len(first[name]["predictions"]) == ROWS
        assert first[name]["scores"] == pytest.approx(one[name]["scores"], rel=1e-4, nan_ok=True), name
