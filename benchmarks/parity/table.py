"""The table of README.md, made from the results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

BEGIN, END = "<!-- table: results.json -->", "<!-- end of table -->"
COMPARED = 50
"""Steps whose losses are compared."""


def write_table(results: Path, page: Path) -> None:
    """Puts the table of `results` between the marks of `page`."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table_of(results)}\n{END}{after}", encoding="utf-8")


def table_of(results: Path) -> str:
    """A row for each comparison: how far losses are apart, seed by seed, and the scores of both sides."""
    found = json.loads(results.read_text(encoding="utf-8"))["comparisons"]
    lines = [
        f"| compared | data | largest relative difference of the first {COMPARED} losses, by seed | score | "
        "Trainer + peft | peftkit |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        differences = ", ".join(f"{largest_difference(run['losses']):.1e}" for run in one["runs"])
        sides = [scores_of(one["runs"], side) for side in ("trainer", "peftkit")]
        lines.append(f"| {one['name']} | {one['data']} | {differences} | {one['metric']} | {' | '.join(sides)} |")
    return "\n".join(lines)


def largest_difference(losses: Mapping[str, Sequence[float]], steps: int = COMPARED) -> float:
    """The largest ``|peftkit - Trainer| / Trainer`` of the first `steps` losses."""
    pairs = list(zip(losses["peftkit"], losses["trainer"], strict=True))[:steps]
    return max(abs(ours - theirs) / theirs for ours, theirs in pairs)


def scores_of(runs: Sequence[Mapping[str, Any]], side: str) -> str:
    """Mean, standard deviation over the seeds, and each seed's score."""
    scores = [run["scores"][side] for run in runs]
    return f"{mean(scores):.4f} ± {stdev(scores):.4f} ({', '.join(f'{score:.4f}' for score in scores)})"
