"""Trains the same with transformers.Trainer + peft and with peftkit, and tells how far apart they are.

    python benchmarks/parity/run.py --data FOLDER --models FOLDER --output benchmarks/parity/results.json

`data` holds the data sets as ``NAME/SPLIT.jsonl.gz``, `models` the base of text-generation. Where `data` is not there,
says so and ends well. Writes every loss and score to the output, and its table into the README.md beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from choosing import Chosen, choose
from comparisons import COMPARISONS, MINILM, SEEDS, Comparison
from guides import TASKS
from table import write_table
from trainer_side import Outcome, train, trained_weights, without_dropout

import peftkit
from peftkit.contracts import Watcher
from peftkit.data import effective_batches
from peftkit.recipe import locate
from peftkit.record import environment


class Start(Watcher):
    """Keeps what is trained as it is before the first step."""

    weights: dict[str, torch.Tensor]

    def model_ready(self, model: Any) -> None:
        self.weights = trained_weights(model)


def recipe_of(comparison: Comparison, seed: int) -> dict[str, Any]:
    """The recipe that says what the Trainer side is told."""
    shared = comparison.settings
    windows = {"stride": shared.stride} if shared.stride else {}
    return {
        "model": shared.model,
        "method": {
            "name": "lora",
            "r": shared.r,
            "lora_alpha": shared.lora_alpha,
            "target_modules": list(shared.target_modules),
        },
        "task": {"name": comparison.task, **comparison.options, **windows, "metrics": [comparison.metric]},
        "data": {"source": "given"},
        "training": {
            "max_steps": shared.steps,
            "batch_size": shared.batch_size,
            "eval_batch_size": shared.eval_batch_size,
            "learning_rate": shared.learning_rate,
            "warmup_ratio": shared.warmup_ratio,
            "max_length": shared.max_length,
            "eval_strategy": "no",
            "logging_steps": 1,
        },
        "seed": seed,
    }


def with_peftkit(comparison: Comparison, rows: Chosen, seed: int) -> Outcome:
    """The run of peftkit. Raises ValueError where a row became several examples: the order would not be the same."""
    start = Start()
    given = {"train": rows.train, "validation": rows.train[: comparison.settings.batch_size], "test": rows.test}
    record = peftkit.run(peftkit.Recipe.model_validate(recipe_of(comparison, seed)), rows=given, watchers=[start])
    counts = record.data["train"]
    if counts["examples"] != counts["rows"] or counts["rows_cut"]:
        raise ValueError(f"{comparison.name}: rows are cut or in pieces: {counts}")
    return Outcome(start.weights, [entry["loss"] for entry in record.history], record.scores[comparison.metric])


def with_trainer(comparison: Comparison, rows: Chosen, seed: int) -> Outcome:
    """The run of Trainer, on the batches that peftkit makes of as many rows."""
    shared = comparison.settings
    batches: list[list[int]] = []
    epoch = 0
    while len(batches) < shared.steps:
        batches += effective_batches([1] * len(rows.train), shared.batch_size, "random", seed, epoch)
        epoch += 1
    task = TASKS[comparison.task](shared, rows.train)
    return train(task, rows.train, rows.test, batches[: shared.steps], seed)


def compare(comparison: Comparison, rows: Chosen, seed: int) -> dict[str, Any]:
    """Losses and scores of both sides for one seed.

    Raises:
        AssertionError: head and adapter do not begin alike, bit for bit.
    """
    ours, theirs = with_peftkit(comparison, rows, seed), with_trainer(comparison, rows, seed)
    assert ours.start.keys() == theirs.start.keys(), sorted(ours.start.keys() ^ theirs.start.keys())
    unlike = [name for name, weight in ours.start.items() if not torch.equal(weight, theirs.start[name])]
    assert not unlike, f"{comparison.name}: do not begin alike: {unlike}"
    sides = {"trainer": theirs, "peftkit": ours}
    return {
        "seed": seed,
        "losses": {side: outcome.losses for side, outcome in sides.items()},
        "scores": {side: outcome.score for side, outcome in sides.items()},
    }


def run(comparison: Comparison, data: Path, models: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """One comparison over all seeds, as plain data."""
    shared = comparison.settings
    base = locate(shared.model if shared.model == MINILM else str(models / shared.model))
    with tempfile.TemporaryDirectory() as folder:
        here = without_dropout(base, Path(folder) / "base")
        placed = replace(comparison, settings=replace(shared, model=str(here)))
        rows = choose(placed, data)
        found = []
        for seed in seeds:
            found.append(compare(placed, rows, seed))
            print(comparison.name, f"seed {seed}", found[-1]["scores"], flush=True)
    return {**asdict(comparison), "runs": found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs every comparison; writes results and table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets, NAME/SPLIT.jsonl.gz")
    parser.add_argument("--models", type=Path, required=True, help="folder that holds tinystories-656k")
    parser.add_argument("--output", type=Path, required=True, help="JSON file; README.md beside it gets the table")
    parser.add_argument("--only", nargs="+", help="names of comparisons; the others keep what the output holds")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        print(f"{given.data}: no such folder; nothing is compared")
        return
    kept = json.loads(given.output.read_text())["comparisons"] if given.only and given.output.exists() else []
    by_name = {one["name"]: one for one in kept}
    for comparison in COMPARISONS:
        if not given.only or comparison.name in given.only:
            by_name[comparison.name] = run(comparison, given.data, given.models, SEEDS)
            found = [by_name[one.name] for one in COMPARISONS if one.name in by_name]
            results = {"versions": environment({})["versions"], "comparisons": found}
            given.output.write_text(json.dumps(results, indent=1) + "\n")
    write_table(given.output, given.output.with_name("README.md"))


if __name__ == "__main__":
    main()
