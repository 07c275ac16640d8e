"""All combinations, or some, in several processes; the table they make."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from peftkit.capabilities import BITS, Entry, Outcome, Table
from peftkit.proving.grid import ENTRIES, PAIRS
from peftkit.proving.trial import Bench, Trial

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")
Cell = tuple[str, str, str, str]
"""Title, architecture, task, bits."""
Found = tuple[dict[str, Outcome], Outcome | None]


def cells(titles: Iterable[str] = ENTRIES, pairs: Iterable[tuple[str, str]] = PAIRS) -> list[Cell]:
    """What there is to prove, the cells of a toy one after the other."""
    return [(title, kind, task, bits) for kind, task in pairs for title in titles for bits in BITS]


def draw(count: int, seed: int, among: Sequence[Cell] | None = None) -> list[Cell]:
    """So many cells, drawn with a seed."""
    return random.Random(seed).sample(list(among or cells()), count)


def prove(
    chosen: Sequence[Cell],
    processes: int = 1,
    told: Callable[[Cell, Found], None] = lambda cell, found: None,
    journal: Path | None = None,
) -> dict[Cell, Found]:
    """Runs every cell; `told` hears of each as it ends, in order. What `journal` holds already is not run again."""
    results = _read(journal) if journal else {}
    left = [cell for cell in chosen if cell not in results]
    with contextlib.ExitStack() as stack:
        if processes == 1:
            bench = stack.enter_context(_bench())
            ended: Iterable[Found] = (_outcomes(bench, cell) for cell in left)
        else:
            context = get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(processes, mp_context=context, initializer=_begin))
            ended = pool.map(_in_worker, left, chunksize=3)
        for cell, found in zip(left, ended, strict=True):
            results[cell] = found
            told(cell, found)
            if journal:
                with journal.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps([cell, *found], ensure_ascii=False) + "\n")
    return {cell: results[cell] for cell in chosen}


def _read(journal: Path) -> dict[Cell, Found]:
    """What an interrupted sweep has left."""
    results: dict[Cell, Found] = {}
    if journal.is_file():
        for line in journal.read_text(encoding="utf-8").splitlines():
            cell, modes, merged = json.loads(line)
            found = {mode: Outcome(*outcome) for mode, outcome in modes.items()}
            results[tuple(cell)] = (found, Outcome(*merged) if merged else None)
    return results


def drift(results: Mapping[Cell, Found], table: Table) -> Iterator[str]:
    """A line for whatever ended in another stage than it stands in `table`."""
    entries = {entry.title: entry for entry in table.entries}
    for (title, architecture, task, bits), (found, merged) in results.items():
        place = f"{title}, {task} on {architecture}, {bits}"
        entry = entries.get(title)
        if entry is None or (architecture, task) not in entry.runs:
            yield f"{place}: not in the table"
            continue
        known = {mode: entry.runs[architecture, task][bits, mode] for mode in found}
        now = dict(found)
        if merged is not None:
            now["merging"] = merged
            known["merging"] = entry.merges[architecture, task].get(bits, Outcome("missing"))
        for mode, outcome in now.items():
            if outcome.stage != known[mode].stage:
                yield f"{place}, {mode}: {known[mode].stage} in the table, now {outcome.stage} {outcome.told}".rstrip()


def proved(results: Mapping[Cell, Found], before: Table | None = None) -> Table:
    """The table that `results` make; what they say nothing of stays as it was `before`."""
    table = Table({name: version(name) for name in LIBRARIES}, [])
    old = {entry.title: entry for entry in before.entries} if before else {}
    for title, settings in ENTRIES.items():
        entry = Entry(title, settings)
        for pair in PAIRS:
            _fill(entry, title, pair, results, old.get(title))
        if entry.runs:
            table.entries.append(entry)
    return table


def _fill(entry: Entry, title: str, pair: tuple[str, str], results: Mapping[Cell, Found], old: Entry | None) -> None:
    """Puts what is known of an entry on a pair into it; a pair that is known in part is left out."""
    runs = dict(old.runs.get(pair, {})) if old else {}
    merges = dict(old.merges.get(pair, {})) if old else {}
    for bits in BITS:
        if (found := results.get((title, *pair, bits))) is not None:
            runs |= {(bits, mode): outcome for mode, outcome in found[0].items()}
            merges.pop(bits, None)
            if found[1] is not None:
                merges[bits] = found[1]
    if all((bits, "plain") in runs for bits in BITS):
        entry.runs[pair], entry.merges[pair] = runs, merges


_worker: list[Bench] = []


def _begin() -> None:
    """Prepares a process of the pool, which takes one thread."""
    import torch

    torch.set_num_threads(1)
    _worker.append(Bench())


def _in_worker(cell: Cell) -> Found:
    return _outcomes(_worker[0], cell)


@contextlib.contextmanager
def _bench() -> Iterator[Bench]:
    bench = Bench()
    try:
        yield bench
    finally:
        bench.close()


def _outcomes(bench: Bench, cell: Cell) -> Found:
    """What came of a cell; nothing that a library prints is seen."""
    title, architecture, task, bits = cell
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.ERROR)
        found = Trial(bench, ENTRIES[title], architecture, task, bits).outcomes()
    gc.freeze()  # what the libraries hold is not looked through again after every run
    return found
