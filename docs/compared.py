"""The table of benchmarks/README.md: many methods on one data set, from the committed records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from peftkit.record import RECORD_FILE, Record
from peftkit.reports.columns import size

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results" / "methods"


def comparison_table() -> str:
    """A line a method, the best on validation rows first: what was chosen, what it costs, what it scores on test rows.

    Accuracies in percent; of several seeds the mean, with the lowest and the highest.
    """
    choices: dict[str, Any] = json.loads((RESULTS / "choices.json").read_text(encoding="utf-8"))
    order = sorted(choices, key=lambda title: -choices[title]["accuracy"])
    header = "| method | learning rate | trainable | adapter | validation | test | test, 4 bits |"
    return "\n".join([header, f"|{' --- |' * 7}", *(_line(title, choices[title]) for title in order)])


def ended() -> str:
    """How the cells of the comparison ended: ``89 runs: 89 ok; 9 refused.``"""
    folders = sorted(RESULTS.glob("*/"))
    statuses = Counter(Record.load(folder).status for folder in folders if (folder / RECORD_FILE).is_file())
    told = ", ".join(f"{number} {status}" for status, number in statuses.most_common())
    return f"Of {len(folders)} cells {told}, {len(folders) - statuses.total()} refused."


def _line(title: str, choice: dict[str, Any]) -> str:
    records = {bits: list(_records(title, bits)) for bits in ("none", "4bit")}
    costs = records["none"][0].costs
    rates = list(choice["tried"])
    edge = " (at an end)" if str(choice["learning_rate"]) in (rates[0], rates[-1]) else ""
    cells = [
        title,
        f"{choice['learning_rate']:g}{edge}",
        f"{costs['trainable_share']:.2%}",
        _bytes(costs["adapter_bytes"]),
        f"{100 * choice['accuracy']:.1f}",
        *(_score(records[bits]) for bits in records),
    ]
    return f"| {' | '.join(cells)} |"


def _records(title: str, bits: str) -> Iterator[Record]:
    """Those of all seeds."""
    for folder in sorted(RESULTS.glob(f"{title}-{bits}-seed*/")):
        if (folder / RECORD_FILE).is_file():
            yield Record.load(folder)


def _bytes(count: float) -> str:
    divisor, decimals, unit = size(count)
    return f"{count / divisor:.{decimals}f}{unit}"


def _score(records: list[Record]) -> str:
    """``83.1 (82.8 to 83.5)``."""
    if not records:
        return "refused"
    if any(record.status != "ok" for record in records):
        return next(record.status for record in records if record.status != "ok")
    scores = [100 * record.scores["accuracy"] for record in records]
    spread = f" ({min(scores):.1f} to {max(scores):.1f})" if len(scores) > 1 else ""
    return f"{mean(scores):.1f}{spread}"
