"""The columns of a report: where each number comes from, its unit, and how people read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from peftkit.contracts import Direction
from peftkit.metrics import direction
from peftkit.record import Record

MISSING = "–"
SCORES_SHOWN = 2
"""Scores of a task that people get to see, its first ones; csv and json carry all."""

Scale = Callable[[float], tuple[float, int, str]]
"""From a number to how it is written: what to divide by, decimals, unit with its leading space."""


@dataclass(frozen=True)
class Column:
    """One number of a run."""

    header: str
    unit: str
    """Unit of the raw number."""
    scale: Scale
    read: Callable[[Record], object]
    """The number in a record; anything else counts as missing."""
    direction: Direction | None = None
    """Which end is better, if one is."""
    fixed: bool = False
    """Set by the recipe rather than measured: the deviation is told only where seeds differ."""
    shown: bool = True
    """Whether people get to see it; csv and json carry all."""
    score: bool = False

    def of(self, record: Record) -> float | None:
        """The number in `record`, or None where it has none."""
        number = self.read(record)
        return number if isinstance(number, int | float) and not isinstance(number, bool) else None

    def text(self, mean: float | None, deviation: float | None = None, *, stacked: bool = False) -> str:
        """``1.02 ± 0.03 GB``, `stacked` ``1.02 GB`` over ``± 0.03``; unit and decimals are those of the mean."""
        if mean is None:
            return MISSING
        if not math.isfinite(mean):
            return str(mean)
        if self.fixed and deviation == 0:
            deviation = None
        divisor, decimals, unit = self.scale(mean)
        number = f"{mean / divisor:,.{decimals}f}"
        if deviation is None:
            return f"{number}{unit}"
        spread = f"± {deviation / divisor:,.{decimals}f}"
        return f"{number}{unit}\n{spread}" if stacked else f"{number} {spread}{unit}"


# --- How numbers are written -----------------------------------------------------------------------------------------


def decimals(number: float, digits: int = 3) -> int:
    """Decimals that show `digits` significant digits of `number`; none where its whole part shows as many."""
    exponent = int(f"{number:.{digits - 1}e}".partition("e")[2])  # after rounding: 9.996 has the places of 10.0
    return max(0, digits - 1 - exponent)


def whole(number: float) -> tuple[float, int, str]:
    """``81,428``."""
    return 1, 0, ""


def percent(share: float) -> tuple[float, int, str]:
    """``0.36 %``, ``12.4 %``, ``100 %``."""
    return 0.01, 0 if share == 1 else decimals(share * 100, 3 if share >= 0.01 else 2), " %"


def size(count: float) -> tuple[float, int, str]:
    """``329 kB``, ``1.02 GB``: decimal units, 1 kB is 1,000 bytes."""
    for power, unit in enumerate(("B", "kB", "MB", "GB")):
        if abs(count) < 999.5 * 1000**power:
            return 1000**power, decimals(count / 1000**power) if power else 0, f" {unit}"
    return 1000**4, decimals(count / 1000**4), " TB"


def rate(number: float) -> tuple[float, int, str]:
    """``1,243``, ``55.8``, ``0.312``."""
    return 1, decimals(number), ""


def duration(seconds: float) -> tuple[float, int, str]:
    """``3.5 s``, ``14.3 min``, ``2.8 h``."""
    if seconds < 120:
        return 1, 1, " s"
    return (60, 1, " min") if seconds < 7200 else (3600, 1, " h")


def thousandths(number: float) -> tuple[float, int, str]:
    """``0.712``."""
    return 1, 3, ""


# --- The tables ------------------------------------------------------------------------------------------------------

COLUMNS: dict[str, Column] = {
    "trainable_parameters": Column(
        "trainable parameters", "count", whole, lambda r: r.costs.get("trainable_parameters"), "lower", fixed=True
    ),
    "trainable_share": Column(
        "share", "0 to 1", percent, lambda r: r.costs.get("trainable_share"), "lower", fixed=True
    ),
    "adapter_bytes": Column("adapter size", "bytes", size, lambda r: r.costs.get("adapter_bytes"), "lower", fixed=True),
    "peak_memory_bytes": Column("peak memory", "bytes", size, lambda r: r.costs.get("peak_memory_bytes"), "lower"),
    "samples_per_second": Column(
        "samples/s", "1 / second", rate, lambda r: r.costs.get("samples_per_second"), "higher"
    ),
    "tokens_per_second": Column("tokens/s", "1 / second", rate, lambda r: r.costs.get("tokens_per_second"), "higher"),
    "train_seconds": Column("training time", "seconds", duration, lambda r: r.costs.get("train_seconds"), "lower"),
}
"""Costs by their name in the record, in the order in which they are shown; scores follow."""


def columns_for(records: Iterable[Record]) -> dict[str, Column]:
    """`COLUMNS`, then the scores in the order in which the records bring them, the loss last."""
    shown: dict[str, bool] = {}
    for record in records:
        named = [name for name in record.scores if name != "loss"]
        for place, name in enumerate(named):
            shown[name] = shown.get(name, False) or place < SCORES_SHOWN
    if any("loss" in record.scores for record in records):
        shown["loss"] = False
    return COLUMNS | {name: score_column(name, seen) for name, seen in shown.items()}


def score_column(name: str, shown: bool) -> Column:
    """The column of a score; which end is better is the metric's to say."""
    return Column(name, "", thousandths, lambda r: r.scores.get(name), direction(name), shown=shown, score=True)
