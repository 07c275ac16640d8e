"""The bench: cells one after the other, each in a process of its own, each leaving a record whatever happens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftkit.contracts import Watcher
from peftkit.errors import UserError
from peftkit.record import RECORD_FILE, Record, failure
from peftkit.suites.process import run_in_process
from peftkit.suites.suite import Cell, cell_folders, load_suite


class BenchWatcher(Watcher):
    """Sees a bench go by: the events of the running cell, and its beginning and end."""

    def cell_started(self, cell: Cell, index: int, total: int) -> None:
        """Cell number `index` (from 1) of `total` starts."""

    def cell_ended(self, cell: Cell, record: Record, done_before: bool) -> None:
        """The cell has its record; `done_before` when it was found and not run."""


@dataclass(frozen=True)
class BenchResult:
    """What a bench leaves behind."""

    records: dict[str, Record]
    """By cell name, in the suite's order."""
    output: Path

    @property
    def failed(self) -> list[str]:
        """Names of cells that did not end well."""
        return [name for name, record in self.records.items() if record.status != "ok"]


def bench(
    suite: str | Path | Sequence[Cell],
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    rerun_failed: bool = False,
    watcher: BenchWatcher | None = None,
    execute: Callable[[Cell, Path, Path, Watcher], str | None] = run_in_process,
) -> BenchResult:
    """Runs every cell that has no record yet; records in ``output/cells/NAME/record.json``, logs in ``output/logs``.

    A cell that fails, runs out of memory or is killed leaves a record that says so, and the rest goes on. Interrupted
    cells are run again; failed ones only with `rerun_failed`.

    Raises:
        UserError: the suite is wrong, or the output folder cannot be written.
    """
    cells = list(suite) if not isinstance(suite, str | Path) else load_suite(suite, overrides)
    watcher = watcher or BenchWatcher()
    output = Path(output)
    folders = cell_folders(cells, output)
    logs = output / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror}") from None
    records: dict[str, Record] = {}
    for index, cell in enumerate(cells, 1):
        folder = folders[cell.name]
        watcher.cell_started(cell, index, len(cells))
        done = _done(folder, rerun_failed)
        records[cell.name] = done or _run(cell, folder, logs / f"{cell.name}.log", watcher, execute)
        watcher.cell_ended(cell, records[cell.name], done is not None)
    return BenchResult(records, output)


def _done(folder: Path, rerun_failed: bool) -> Record | None:
    """The record of a cell that need not run again."""
    if not (folder / RECORD_FILE).exists():
        return None
    record = Record.load(folder)
    again = record.status == "interrupted" or (rerun_failed and record.status != "ok")
    return None if again else record


def _run(
    cell: Cell, folder: Path, log: Path, watcher: Watcher, execute: Callable[[Cell, Path, Path, Watcher], str | None]
) -> Record:
    """Runs a cell and returns its record; writes one for a cell that could not write its own."""
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier run of this cell left, which did not end well
    reason = execute(cell, folder, log, watcher)
    if (folder / RECORD_FILE).exists():
        return Record.load(folder)
    record = failure(cell.recipe.given(), cell.recipe.hash, f"{reason or 'ended without a record'}{_tail(log)}")
    folder.mkdir(parents=True, exist_ok=True)
    record.save(folder)
    return record


def _tail(log: Path, lines: int = 20) -> str:
    """The end of a cell's log, for the record."""
    text = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
    return "\n" + "\n".join(text.splitlines()[-lines:]) if text else ""
