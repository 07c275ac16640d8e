"""Keeps the record while a run goes by: phases and their times, probes, history, scores; writes it whatever happens."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from peftkit.contracts import Probe, Watcher
from peftkit.data import Encoded
from peftkit.errors import OutOfMemory, PeftkitError, UserError
from peftkit.evaluate import Evaluation
from peftkit.mixtures import method_of
from peftkit.probes import PROBES
from peftkit.recipe import Recipe
from peftkit.record import Record, Status, environment, now, save_predictions
from peftkit.training import Loop
from peftkit.training.devices import hardware
from peftkit.training.loop import effective_batch_size

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.nn import Module


class Journal:
    """The context that a run happens in. On leaving it the record is written, by the main process alone.

    A user's mistake before training leaves nothing behind; after that every end leaves a record: ok, failed,
    out-of-memory or interrupted.
    """

    def __init__(self, recipe: Recipe, folder: Path, watchers: Sequence[Watcher]) -> None:
        self.recipe, self.folder = recipe, folder
        self.probes: list[Probe] = [make() for make in PROBES.values()]
        self.watchers: list[Watcher] = [*self.probes, *watchers]
        self.started, self.began = now(), time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.history: list[dict[str, Any]] = []
        self.running: list[tuple[str, float]] = []
        self.kept: dict[str, Any] = {}
        self.training_began = False
        self.ended_in: str | None = None
        self.on_terminate: Any = signal.SIG_DFL
        self.evaluation: tuple[str, Evaluation] | None = None
        self.environment: dict[str, Any] = {}
        self.processes = 1
        self.writes = int(os.environ.get("RANK", "0")) == 0
        self.record: Record

    def join(self, accelerator: Accelerator, watchers: Sequence[Watcher]) -> None:
        """Notes the devices of the run, and takes in watchers that need them."""
        self.processes = accelerator.num_processes
        self.environment = environment(hardware(accelerator))
        self.kept["resolved"] = {"mixed_precision": accelerator.mixed_precision}
        self.watchers += watchers

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a phase; one that starts inside another suspends it."""
        self._suspend()
        self._start(name)
        self.training_began |= name == "train"
        try:
            yield
        except BaseException:
            self.ended_in = self.ended_in or name
            raise
        finally:
            self._suspend()
            self.running.pop()
            if self.running:
                self._start(self.running.pop()[0])

    def resolve(self, rows: Mapping[str, Encoded], **settings: Any) -> None:
        """Notes the data and the settings that the recipe left open."""
        training = self.recipe.training
        self.kept["data"] = {split: part.summary() for split, part in rows.items()}
        self.kept["resolved"] |= {
            **settings,
            "learning_rate": training.learning_rate or method_of(self.recipe.method).learning_rate,
            "effective_batch_size": effective_batch_size(training, self.processes),
        }

    def model_ready(self, model: Module) -> None:
        """Tells the watchers that the trainable model stands."""
        for watcher in self.watchers:
            watcher.model_ready(model)

    def trained(self, loop: Loop, outcome: dict[str, Any]) -> None:
        """Notes the history, and what the method and the choice of the best say of themselves."""
        best = loop.best
        chosen = {"step": best.step, "score": best.score} if best.checkpoint else None
        self.kept["method"] = outcome | {"best_checkpoint": chosen}

    def scored(self, split: str, evaluation: Evaluation) -> dict[str, float]:
        """Notes an evaluation; the last one noted is the run's own. Returns its scores."""
        self.evaluation = (split, evaluation)
        return evaluation.scores

    def saved(self, folder: Path) -> None:
        """Tells the watchers where the trained weights lie."""
        for watcher in self.watchers:
            watcher.saved(folder)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self.on_terminate = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_terminate)
        if error is None:
            with _undisturbed():
                self._close("ok", None)
            return
        if isinstance(error, UserError) and not self.training_began:
            return
        status = _status(error)
        if isinstance(error, PeftkitError | KeyboardInterrupt) or status == "out-of-memory":
            told = (str(error).strip().splitlines() or [status])[0]
        else:
            told = "".join(traceback.format_exception(error)).strip()
            told = f"{type(error).__name__}: {str(error).strip()}\n{told}"
        with _undisturbed():
            self._close(status, told)
        if status == "out-of-memory":
            raise OutOfMemory(f"out of memory in phase {self.ended_in}: {told}") from error

    def _close(self, status: Status, error: str | None) -> None:
        costs: dict[str, Any] = {}
        for probe in self.probes:
            costs |= probe.costs()
        self.record = Record(
            status=status,
            error=error,
            started=self.started,
            seconds=time.perf_counter() - self.began,
            recipe=self.recipe.given(),
            recipe_hash=self.recipe.hash,
            environment=self.environment,
            costs=costs,
            phases=self.seconds,
            history=self.history,
            **self.kept,
            **(self._final_scores() if status == "ok" else {}),
        )
        if self.writes:
            self.record.save(self.folder)

    def _final_scores(self) -> dict[str, Any]:
        """The last evaluation as the record keeps it; its predictions are written beside."""
        if self.evaluation is None:
            return {}
        split, evaluation = self.evaluation
        if self.writes:
            save_predictions(evaluation.rows(), self.folder)
        return {"scored_split": split, "scores": evaluation.scores, "detail": evaluation.detail}

    def _start(self, name: str) -> None:
        for watcher in self.watchers:
            watcher.phase_started(name)
        self.running.append((name, time.perf_counter()))

    def _suspend(self) -> None:
        if not self.running:
            return
        name, since = self.running[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - since
        for watcher in self.watchers:
            watcher.phase_ended(name)


def _interrupt(number: int, frame: object) -> None:
    """A machine that is taken away ends a run as Ctrl-C does: its record says interrupted."""
    raise KeyboardInterrupt


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps a second Ctrl-C from tearing the record that the first one is leaving."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _status(error: BaseException) -> Status:
    """How a run that ended with `error` ended."""
    import torch

    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    words = str(error).lower()
    short = "not enough memory" in words or "can't allocate memory" in words or "out of memory" in words
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and short
    )
    return "out-of-memory" if out_of_memory else "failed"
