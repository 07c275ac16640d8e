"""Tables of docs/tasks.md: what can be scored, and what the committed real runs scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peftkit.metrics import METRICS
from peftkit.record import Record
from peftkit.reports.columns import duration

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "tasks"
RECIPES = "../benchmarks/tasks/recipes"
SHOWN = 2
"""Scores of a run that the table shows, its first ones."""


def metrics_table() -> str:
    """A line a metric, from METRICS."""
    lines = ["| metric | better | reads | definition |", "| --- | --- | --- | --- |"]
    for name, metric in METRICS.items():
        reads = ", ".join(f"`{field}`" for field in metric.reads)
        lines.append(f"| `{name}` | {metric.direction} | {reads} | {metric.definition} |")
    return "\n".join(lines)


def runs_table() -> str:
    """A line a real run, by task."""
    header = "| data | task | base, method | train / scored rows | training | score | without training |"
    found = [(folder.name, Record.load(folder), _baseline(folder)) for folder in sorted(RESULTS.glob("*/"))]
    order = sorted(found, key=lambda run: (run[1].recipe["task"]["name"], run[0]))
    return "\n".join([header, f"|{' --- |' * 7}", *(_line(*run) for run in order)])


def _line(name: str, record: Record, baseline: dict[str, Any]) -> str:
    recipe = record.recipe
    base = recipe["model"]["name"].rpartition("/")[2]
    rows = f"{record.data['train']['rows']:,} / {record.data[record.scored_split or 'validation']['rows']:,}"
    divisor, decimals, unit = duration(record.costs["train_seconds"])
    seconds = f"{record.costs['train_seconds'] / divisor:.{decimals}f}{unit}"
    cells = [
        f"[{name}]({RECIPES}/{name}.yaml)",
        recipe["task"]["name"],
        f"{base}, {record.title}",
        rows,
        seconds,
        ", ".join(_scores(record.scores, list(record.scores))),
        f"{', '.join(_scores(baseline['scores'], list(record.scores)))} ({baseline['what']})",
    ]
    return f"| {' | '.join(cells)} |"


def _scores(scores: dict[str, float], names: list[str]) -> Iterator[str]:
    """``accuracy 0.812``, the first names that there are."""
    for name in names[:SHOWN]:
        if name in scores:
            yield f"{name} {scores[name]:.3f}"


def _baseline(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "baseline.json").read_text(encoding="utf-8"))
    return found
