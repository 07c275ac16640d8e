"""One combination, run as any recipe is: attached, trained, checked, saved, loaded again, merged."""

from __future__ import annotations

import gc
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftkit.capabilities import MODES, WORKS, Case, Outcome, setting_aside
from peftkit.contracts import Watcher
from peftkit.errors import PeftkitError, RecipeErrors, UserError
from peftkit.interop import merge
from peftkit.methods import METHODS
from peftkit.pipeline import run
from peftkit.proving.grid import LANGUAGE_MODEL_HEADS, NEEDED
from peftkit.proving.rows import save_rows
from peftkit.proving.toys import save_toy
from peftkit.recipe import Recipe, check

STEPS = 6
BATCH = 4
MODE_SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gradient_checkpointing": {"training": {"gradient_checkpointing": True}},
    "bfloat16": {"model": {"dtype": "bfloat16"}, "training": {"mixed_precision": "bf16"}},
}
LOSS_TOLERANCE = {"gradient_checkpointing": 1e-4, "bfloat16": 0.25}
"""Largest relative difference from the plain run's first loss: checkpointing computes the same; bfloat16
rounds, and the logits of toys with weights this wide take that badly."""
PATHS = re.compile(r"(/[\w.+-]+){2,}/?")
ATTACHING = re.compile(r"^method: [\w-]+ cannot be attached to an? [\w-]+ model(?: for this task)?: ")
"""What the table says already, by its place."""
LONGEST = 160
"""Characters of a reason that are kept."""


class Bench:
    """Toys and rows in a folder of their own, made when they are first needed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="peftkit-proving-"))

    def close(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def recipe(self, settings: Mapping[str, Any], case: Case) -> Recipe:
        """The recipe of a combination. Raises RecipeErrors where a recipe is refused by rule."""
        mode = MODE_SETTINGS[case.modes[0]]
        data = {
            "model": {"name": str(self._toy(str(case.architecture), case.task)), **mode.get("model", {})},
            "quantization": case.bits,
            "method": {**settings, **NEEDED.get(settings["name"], {})},
            "task": self._task(case.task),
            "data": str(self._rows(case.task)),
            "training": {
                "max_steps": STEPS,
                "batch_size": BATCH,
                "learning_rate": 1e-2,
                "logging_steps": 1,
                "eval_strategy": "no",
                **({} if case.task == "image-classification" else {"max_length": 32}),
                **mode.get("training", {}),
            },
        }
        with setting_aside():
            return check(data, {})

    def _task(self, task: str) -> dict[str, Any]:
        return {"name": task, **({"generation": {"max_new_tokens": 2}} if task in LANGUAGE_MODEL_HEADS else {})}

    def _toy(self, architecture: str, task: str) -> Path:
        auto_class = LANGUAGE_MODEL_HEADS.get(task, "AutoModel")
        folder = self.folder / f"{architecture}-{auto_class}"
        return folder if folder.is_dir() else save_toy(folder, architecture, auto_class=auto_class)

    def _rows(self, task: str) -> Path:
        folder = self.folder / task
        return folder if folder.is_dir() else save_rows(folder, task, train=4 * BATCH, test=BATCH)


class FirstLoss(Watcher):
    """Keeps the loss of the first step, before anything was trained."""

    loss: float | None = None
    losses_finite = True

    def stepped(self, step: Any) -> None:
        self.loss = step.loss if self.loss is None else self.loss
        self.losses_finite &= math.isfinite(step.loss)


class Trial:
    """An entry on an architecture with a task in so many bits: every mode, and merging what ran plainly."""

    def __init__(self, bench: Bench, settings: Mapping[str, Any], architecture: str, task: str, bits: str) -> None:
        self.bench, self.settings = bench, settings
        self.case = Case(architecture, task, bits)
        self.plain_loss: float | None = None

    def outcomes(self) -> tuple[dict[str, Outcome], Outcome | None]:
        """By mode, and of merging; modes are not tried where the plain run fails, for theirs does more."""
        with tempfile.TemporaryDirectory(dir=self.bench.folder) as folder:
            plain = self._run("plain", Path(folder) / "run")
            merged = self._merged(Path(folder)) if plain.works else None
        found = {"plain": plain}
        for mode in MODES[1:]:
            found[mode] = self._run(mode) if plain.works else plain
        return found, merged

    def _run(self, mode: str, output: Path | None = None) -> Outcome:
        watcher = FirstLoss()
        try:
            recipe = self.bench.recipe(
                self.settings, Case(self.case.architecture, self.case.task, self.case.bits, (mode,))
            )
        except RecipeErrors as refused:
            return Outcome("rule", refused.lines[0].split(": ", 1)[-1].split("; use ")[0])
        try:
            with setting_aside():
                run(recipe, output, watchers=[watcher])
        except UserError as error:
            return Outcome("attaching" if error.key[:1] in ((), ("method",)) else "loading", _told(error, self.bench))
        except PeftkitError as error:
            stage = "saving" if "loaded again" in str(error) else "check"
            return Outcome(stage, _told(error, self.bench))
        except Exception as error:
            stage = "training" if watcher.loss is None else "saving"
            return Outcome(stage, _told(error, self.bench))
        finally:
            gc.collect(0)
        return self._judged(mode, watcher)

    def _judged(self, mode: str, watcher: FirstLoss) -> Outcome:
        """A run that ended well, held to the plain one."""
        assert watcher.loss is not None
        if not watcher.losses_finite:
            return Outcome("check", "the loss is not a number")
        if mode == "plain":
            self.plain_loss = watcher.loss
            return WORKS
        assert self.plain_loss is not None
        off = abs(watcher.loss - self.plain_loss) / max(abs(self.plain_loss), 1e-3)
        if off > LOSS_TOLERANCE[mode]:
            return Outcome("check", f"the first loss differs from the plain run's by {off:.0%}")
        return WORKS

    def _merged(self, folder: Path) -> Outcome:
        if not METHODS[self.settings["name"]].mergeable:
            return Outcome("rule", f"{self.settings['name']} cannot be merged into the base's weights")
        try:
            with setting_aside():
                merge(folder / "run", folder / "merged")
        except Exception as error:
            return Outcome("merging", _told(error, self.bench))
        return WORKS


def _told(error: BaseException, bench: Bench) -> str:
    """An error in one line without the folders of this machine; a library's with its class."""
    first = (str(error).strip().splitlines() or [""])[0].replace(str(bench.folder), "").strip()
    first = PATHS.sub("…", ATTACHING.sub("", first)).removeprefix("…: ")
    name = "" if isinstance(error, PeftkitError) else f"{type(error).__name__}: "
    told = f"{name}{first}".rstrip(": ")
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"
