"""The capability table as people read it: every method beside every architecture, or one method in detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from peftkit.capabilities.table import BITS, MODES, STAGES, Entry, Outcome, Table

SIGNS = {"all": "+", "some": "~", "none": "-"}
LEGEND = (
    "Three signs a cell: on the base as it is, in 8 bits, in 4 bits; then gradient checkpointing, bfloat16 and merging "
    "wherever the method works plainly. + every task, ~ some, - none; blank: not tried."
)
DETAIL_LEGEND = (
    "Three signs a cell: plainly, with gradient checkpointing, in bfloat16. + works, - does not; for the reasons see "
    "below."
)


@dataclass(frozen=True)
class Matrix:
    """Rows of words, the first of them the header."""

    rows: list[list[str]]
    legend: str
    notes: list[str]

    @classmethod
    def overview(cls, table: Table) -> Matrix:
        """A line for every entry, a column for every architecture."""
        architectures = list(dict.fromkeys(architecture for entry in table.entries for architecture, _ in entry.runs))
        header = ["method", *architectures, *MODES[1:], "merge"]
        rows = [
            [entry.title, *(_over_tasks(entry, architecture) for architecture in architectures), *_beyond(entry)]
            for entry in table.entries
        ]
        counts = count(table)
        told = ", ".join(f"{number:,} {stage}" for stage, number in counts.items())
        versions = ", ".join(f"{name} {version}" for name, version in table.versions.items())
        return cls([header, *rows], LEGEND, [f"{sum(counts.values()):,} combinations: {told}.", f"With {versions}."])

    @classmethod
    def detail(cls, entry: Entry) -> Matrix:
        """A line for every architecture and task of one entry, and why what does not work does not."""
        header = ["model", "task", *BITS, "merge"]
        rows, reasons = [], Counter[Outcome]()
        for (architecture, task), run in entry.runs.items():
            cells = ["".join(_sign([run[bits, mode]]) for mode in MODES) for bits in BITS]
            merged = entry.merges.get((architecture, task), {})
            merges = "".join(_sign([merged[bits]]) if bits in merged else " " for bits in BITS)
            rows.append([architecture, task, *cells, merges])
            reasons.update(outcome for outcome in (*run.values(), *merged.values()) if not outcome.works)
        notes = [f"{number} x {STAGES[stage]}: {told}" for (stage, told), number in reasons.most_common()]
        return cls([header, *rows], DETAIL_LEGEND, notes)

    def text(self) -> str:
        """For a terminal."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in self.rows]
        return "\n".join([*(line.rstrip() for line in lines), "", self.legend, *self.notes])

    def markdown(self) -> str:
        """For a page; signs in code, so that they stand below each other."""
        header, *rows = self.rows
        lines = [_line(header), _line(["---"] * len(header))]
        lines += [
            _line([f"`{word}`" if set(word) <= {*SIGNS.values()} and word else word for word in row]) for row in rows
        ]
        return "\n".join([*lines, "", self.legend, "", *self.notes])


def count(table: Table) -> dict[str, int]:
    """How many combinations ended in which stage; merges are not among them."""
    found = Counter(outcome.stage for entry in table.entries for run in entry.runs.values() for outcome in run.values())
    return {stage: found[stage] for stage in ("works", *STAGES) if found[stage]}


def _over_tasks(entry: Entry, architecture: str) -> str:
    """``++-``: of all tasks of an architecture, by bits."""
    runs = [run for (kind, _), run in entry.runs.items() if kind == architecture]
    return "".join(_sign([run[bits, "plain"] for run in runs]) for bits in BITS)


def _beyond(entry: Entry) -> Iterator[str]:
    """A sign each for the other modes and for merging, where the method works plainly."""
    for mode in MODES[1:]:
        yield _sign([run[bits, mode] for run in entry.runs.values() for bits in BITS if run[bits, "plain"].works])
    yield _sign([outcome for merged in entry.merges.values() for outcome in merged.values()])


def _sign(outcomes: Sequence[Outcome]) -> str:
    works = [outcome.works for outcome in outcomes]
    return SIGNS["all" if all(works) else "some" if any(works) else "none"] if works else " "


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"
