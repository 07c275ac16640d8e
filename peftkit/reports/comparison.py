"""Records grouped into rows: runs that differ in their seed alone are one row, its numbers a mean and a deviation."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftkit.record import Record
from peftkit.reports.columns import Column, columns_for
from peftkit.reports.notes import caption, data_drift, notes
from peftkit.reports.titles import titles

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True)
class Row:
    """One recipe, with every run that was made of it."""

    title: str
    runs: tuple[Record, ...]

    @property
    def finished(self) -> list[Record]:
        """The runs that ended well; only these have numbers."""
        return [run for run in self.runs if run.status == "ok"]

    @property
    def counts(self) -> Counter[str]:
        """Runs by status."""
        return Counter(run.status for run in self.runs)

    @property
    def status(self) -> str:
        """``ok``, ``failed``, ``2 of 3 ok``, ``failed 1, out-of-memory 2``."""
        if len(self.counts) == 1:
            return self.runs[0].status
        if self.finished:
            return f"{self.counts['ok']} of {len(self.runs)} ok"
        return ", ".join(f"{status} {count}" for status, count in sorted(self.counts.items()))

    @property
    def errors(self) -> list[str]:
        """``failed: …``: the first line of each error, once."""
        told = [f"{run.status}: {first_line(run.error)}" for run in self.runs if run.status != "ok" and run.error]
        return list(dict.fromkeys(told))

    def values(self, column: Column) -> list[float]:
        """The numbers of the finished runs that have one."""
        return [number for run in self.finished if (number := column.of(run)) is not None]

    def mean(self, column: Column) -> float | None:
        """Mean over `values`, None where there are none."""
        values = self.values(column)
        return statistics.fmean(values) if values else None

    def deviation(self, column: Column) -> float | None:
        """Sample standard deviation over `values` (divided by n - 1), None for fewer than two."""
        values = self.values(column)
        if len(values) < 2:
            return None
        return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan

    def text(self, column: Column, *, stacked: bool = False) -> str:
        """Mean and deviation as people read them, the second `stacked` under the first or beside it."""
        return column.text(self.mean(column), self.deviation(column), stacked=stacked)


@dataclass(frozen=True)
class Comparison:
    """What every format writes."""

    rows: tuple[Row, ...]
    columns: Mapping[str, Column]
    caption: str
    """What the rows have in common, and what the columns mean."""
    notes: tuple[str, ...]
    """What makes the rows less comparable than they look, a line each."""
    comparable: bool
    """Whether the scores of all rows were taken on the same examples."""

    @property
    def shown(self) -> dict[str, Column]:
        """The columns that people get to see."""
        return {name: column for name, column in self.columns.items() if column.shown}

    @property
    def all_ok(self) -> bool:
        """Whether every run ended well."""
        return all(row.status == "ok" for row in self.rows)

    def best(self, column: Column) -> Row | None:
        """The row with the best score, if it is one of several and no other reads the same."""
        means = [(mean, row) for row in self.rows if (mean := row.mean(column)) is not None and math.isfinite(mean)]
        if not (self.comparable and column.score and column.direction and len(means) > 1):
            return None
        best, winner = (max if column.direction == "higher" else min)(means, key=lambda pair: pair[0])
        alike = [row for mean, row in means if column.text(mean) == column.text(best)]
        return winner if len(alike) == 1 else None


def compare(records: Sequence[Record]) -> Comparison:
    """`records`, of which there is at least one, side by side; rows in the order of their first record."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(identity(record.recipe), []).append(record)
    told = titles([group[0] for group in groups.values()])
    rows = tuple(Row(title, tuple(group)) for title, group in zip(told, groups.values(), strict=True))
    return Comparison(
        rows=rows,
        columns=columns_for(records),
        caption=caption([row.runs for row in rows]),
        notes=tuple(notes([(row.title, row.runs) for row in rows])),
        comparable=len({_examined(record) for record in records if record.status == "ok"}) == 1
        and not data_drift(records),
    )


def identity(recipe: Mapping[str, Any]) -> str:
    """A recipe without its seed, as text to compare."""
    return json.dumps({key: value for key, value in recipe.items() if key != "seed"}, sort_keys=True)


def first_line(text: str) -> str:
    """The first line that says something, without control characters; they would write into a terminal."""
    return next((line for part in text.splitlines() if (line := CONTROL.sub(" ", part).strip())), "")


def _examined(record: Record) -> str:
    """What was asked of the model, on which rows; how many it was trained on is another matter."""
    data = {key: value for key, value in record.recipe.get("data", {}).items() if key != "max_train_samples"}
    return json.dumps([record.recipe.get("task"), data, record.scored_split], sort_keys=True)
