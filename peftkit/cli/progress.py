"""What a person sees while it works: phase, step, loss, time to go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from peftkit.contracts import Step
from peftkit.record import Record
from peftkit.suites.running import BenchWatcher
from peftkit.suites.suite import Cell

WORDS = {
    "import": "importing libraries",
    "tokenize": "reading data",
    "load": "loading model",
    "train": "training",
    "evaluate": "evaluating",
    "save": "saving",
}


class RunProgress(BenchWatcher):
    """One line for the run: phase, steps, loss, the last validation score; for a bench a second one for its cells."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.cells: TaskID | None = None
        self.run = progress.add_task("starting", total=None, note="")
        self.phase, self.loss, self.scores = "", "", ""

    def cell_started(self, cell: Cell, index: int, total: int) -> None:
        if self.cells is None:
            self.cells = self.progress.add_task("cells", total=total, note="")
        self.progress.update(self.cells, completed=index - 1, note=cell.name)
        self.progress.reset(self.run, total=None, description="starting")
        self.loss = self.scores = ""

    def cell_ended(self, cell: Cell, record: Record, done_before: bool) -> None:
        if self.cells is not None:
            self.progress.advance(self.cells)
        how = "done before" if done_before else f"{record.seconds:.0f} s"
        first = next(iter(record.scores.items()), None)
        score = f", {first[0]} {first[1]:.3f}" if first else ""
        error = f": {record.error.splitlines()[0]}" if record.error else ""
        self.progress.console.print(
            f"  {record.status:<13} {cell.name} ({how}{score}){error}", highlight=False, markup=False, soft_wrap=True
        )

    def phase_started(self, phase: str) -> None:
        self.progress.update(self.run, description=WORDS.get(phase, phase))

    def training_started(self, total_steps: int) -> None:
        self.progress.update(self.run, total=total_steps)

    def stepped(self, step: Step) -> None:
        self.loss = f"loss {step.loss:.3f}"
        self.progress.update(self.run, completed=step.number, note=f"{self.loss}{self.scores}")

    def evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        name, value = next(iter(scores.items()))
        self.scores = f", validation {name} {value:.3f}"
        self.progress.update(self.run, note=f"{self.loss}{self.scores}")


@contextmanager
def run_progress(shown: bool) -> Iterator[RunProgress]:
    """A live display on standard error; silent on all processes but one, and where nobody looks."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description:<19}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not (shown and console.is_terminal),
        transient=True,
    )
    with progress:
        yield RunProgress(progress)
