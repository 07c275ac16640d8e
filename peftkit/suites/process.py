"""One cell in a fresh process, forked where that is safe from a server that has the libraries imported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from peftkit.contracts import Step, Watcher
from peftkit.errors import PeftkitError, UserError
from peftkit.recipe import Recipe
from peftkit.suites.suite import Cell

PRELOADED = ["peftkit.pipeline", "peft", "datasets", "accelerate", "sklearn.metrics"]
"""Imported once by the server: a cell then costs no import, and inherits no model."""
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd")
"""Drivers of NVIDIA and AMD. Where there is one, importing peft touches the device (through bitsandbytes), and a
process forked after that cannot use it: cells are then started from nothing."""


def run_in_process(cell: Cell, folder: Path, log: Path, watcher: Watcher) -> str | None:
    """Runs `cell` into `folder`, output to `log`, events to `watcher`; says why when the process ended badly.

    Raises:
        KeyboardInterrupt: after the cell has ended too, its record saying ``interrupted``.
    """
    context: Any = multiprocessing.get_context(start_method())
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(PRELOADED)
        _start_server()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_cell, args=(cell.recipe, folder, log, sender), name=cell.name)
    process.start()
    sender.close()
    try:
        _relay(receiver, process.sentinel, watcher)
        process.join()
    except KeyboardInterrupt:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGINT)
        process.join()
        raise
    if process.exitcode and process.exitcode < 0:
        return f"killed by signal {signal.Signals(-process.exitcode).name}"
    return f"exit code {process.exitcode}" if process.exitcode else None


def start_method() -> str:
    """How cells are started on this machine; asked without touching a device."""
    return "spawn" if any(os.path.exists(driver) for driver in ACCELERATORS) else "forkserver"


def _start_server() -> None:
    """Starts the server where it does not run yet, deaf to Ctrl-C: it would show a traceback while it imports."""
    resource_tracker.ensure_running()  # else the server starts it, which lets Ctrl-C through again
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


class RemoteWatcher(Watcher):
    """Sends the events of a cell's process to the bench's."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def phase_started(self, phase: str) -> None:
        self._send("phase_started", phase)

    def training_started(self, total_steps: int) -> None:
        self._send("training_started", total_steps)

    def stepped(self, step: Step) -> None:
        self._send("stepped", step)

    def evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        self._send("evaluated", step, dict(scores))

    def _send(self, event: str, *values: Any) -> None:
        try:
            self.connection.send((event, values))
        except BrokenPipeError:  # the bench is gone: end as on Ctrl-C, so that its next run finds nobody at work here
            raise KeyboardInterrupt from None


def _relay(receiver: Connection, sentinel: int, watcher: Watcher) -> None:
    """Hands events on until the process has ended and its last word was read."""
    while True:
        ready = wait([receiver, sentinel])
        if receiver in ready:
            try:
                event, values = receiver.recv()
            except (EOFError, OSError):  # the cell ended, or was killed in the middle of a word
                return
            handler: Callable[..., None] = getattr(watcher, event)
            handler(*values)
        elif sentinel in ready:
            return


def _cell(recipe: Recipe, folder: Path, log: Path, sender: Connection) -> None:
    """What the cell's process does."""
    from peftkit.pipeline import run
    from peftkit.record import RECORD_FILE, failure

    os.setpgid(0, 0)  # Ctrl-C at a terminal goes to a whole group: here it reaches the bench, which hands it on once
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        run(recipe, folder, overwrite=True, watchers=[RemoteWatcher(sender)])
    except KeyboardInterrupt:
        sys.exit(130)
    except PeftkitError as error:
        if not (folder / RECORD_FILE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            failure(recipe.given(), recipe.hash, str(error)).save(folder)
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
