"""The comparison as JSON: everything that the other formats say, and the values of every run."""

from __future__ import annotations

import json
import math
from typing import Any

from peftkit.reports.columns import Column
from peftkit.reports.comparison import Comparison, Row, first_line, identity
from peftkit.reports.notes import seed


def write(comparison: Comparison, width: int) -> str:
    """``caption``, ``notes``, ``columns`` and ``rows``; `width` is of no account.

    Numbers are those of the records, unrounded; null is missing, or not a finite number. ``values`` hold one number a
    run, in the order of ``runs``; ``mean``, ``std`` and ``n`` are over the finished runs that have one.
    """
    columns = {
        name: {"header": column.header, "unit": column.unit, "direction": column.direction, "shown": column.shown}
        for name, column in comparison.columns.items()
    }
    content = {
        "caption": comparison.caption,
        "notes": list(comparison.notes),
        "columns": columns,
        "rows": [_row(comparison, row) for row in comparison.rows],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _row(comparison: Comparison, row: Row) -> dict[str, Any]:
    return {
        "title": row.title,
        "recipe": json.loads(identity(row.runs[0].recipe)),
        "status": row.status,
        "counts": dict(row.counts),
        "errors": row.errors,
        "runs": [
            {
                "seed": seed(run),
                "status": run.status,
                "error": first_line(run.error) if run.error else None,
                "started": run.started.isoformat(),
                "recipe_hash": run.recipe_hash,
            }
            for run in row.runs
        ],
        "columns": {name: _numbers(row, column) for name, column in comparison.columns.items()},
    }


def _numbers(row: Row, column: Column) -> dict[str, Any]:
    return {
        "mean": _finite(row.mean(column)),
        "std": _finite(row.deviation(column)),
        "n": len(row.values(column)),
        "values": [_finite(column.of(run)) if run.status == "ok" else None for run in row.runs],
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
