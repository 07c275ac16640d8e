"""The comparison as comma-separated values: one line a row, raw numbers."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

from peftkit.reports.comparison import Comparison, Row
from peftkit.reports.notes import seed
from peftkit.reports.titles import plain

STATUSES = ("ok", "failed", "out-of-memory", "interrupted")


def write(comparison: Comparison, width: int) -> str:
    """A line a row of the table; `width` is of no account.

    Numbers are those of the record, unrounded: bytes, seconds, shares from 0 to 1. ``NAME_mean`` and ``NAME_std`` are
    over the finished runs; a missing number is empty. ``notes`` repeats the notes of the report on every line. The
    values of every single run are in the json report.
    """
    lines = [_fields(comparison, row) for row in comparison.rows]
    file = StringIO()
    writer = csv.DictWriter(file, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _fields(comparison: Comparison, row: Row) -> dict[str, Any]:
    recipe = row.runs[0].recipe
    splits = dict.fromkeys(run.scored_split for run in row.runs if run.scored_split)
    fields: dict[str, Any] = {
        "title": row.title,
        "model": recipe.get("model", {}).get("name"),
        "task": recipe.get("task", {}).get("name"),
        "data": plain(recipe.get("data", {}).get("source", "")),
        "scored_split": " ".join(splits),
        "seeds": " ".join(str(seed(run)) for run in row.runs),
    }
    for name, column in comparison.columns.items():
        fields |= {f"{name}_mean": row.mean(column), f"{name}_std": row.deviation(column)}
    fields["status"] = row.status
    fields |= {status.replace("-", "_"): row.counts[status] for status in STATUSES}
    return fields | {"errors": " | ".join(row.errors), "notes": " ".join(comparison.notes)}
