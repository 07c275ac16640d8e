"""The folder of a run: claimed at the start, filled at the end, checked by loading it again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Method, Task
from peftkit.data import Encoded
from peftkit.errors import PeftkitError, UserError
from peftkit.mixtures import PARTS_FOLDER
from peftkit.model import load_base, load_config
from peftkit.model.logits import logits_of
from peftkit.recipe import Recipe
from peftkit.record import PREDICTIONS_FILE, RECORD_FILE, Record, content_of

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.nn import Module

RECIPE_FILE = "recipe.yaml"
CHECKPOINTS = "checkpoints"
MANIFEST = ".peftkit"
"""Lists the files of a run, a name a line: what may be removed when it is run again."""
COMPLETE_CONFIG = "config.json"
"""Config of a whole model; transformers takes a folder that has it for one that holds the base's weights too."""
ADAPTER_MODEL_CONFIG = "model_config.json"
"""Config of the model under an adapter: class names, head size. Under another name for the reason above."""
TRACKED = "peftkit"
"""Where trackers that keep files write."""
WRITTEN = (
    *(CHECKPOINTS, MANIFEST, TRACKED, RECIPE_FILE, RECORD_FILE, PREDICTIONS_FILE),
    *("adapter_config.json", "adapter_model.safetensors", ADAPTER_MODEL_CONFIG, COMPLETE_CONFIG, "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "generation_config.json"),
    *("chat_template.jinja", PARTS_FOLDER),
)
"""What a run may leave that was killed before its manifest was complete."""
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-3, "float16": 1e-3}
"""Largest difference of logits after reloading, relative to the largest logit, by the base's dtype."""
CHECKED_ROWS = 8


@contextmanager
def claim(output: str | Path | None, overwrite: bool) -> Iterator[Path]:
    """The folder to write into, made if need be and removed again if nothing came into it.

    An earlier run's files stay until `clear` is called. Without `output` the folder is a temporary one.

    Raises:
        UserError: it holds a finished run and `overwrite` is off, holds anything else, or cannot be written.
    """
    if output is None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError("several processes need an output folder that they share")
        with tempfile.TemporaryDirectory(prefix="peftkit-") as temporary:
            yield Path(temporary)
        return
    folder = Path(output)
    if int(os.environ.get("RANK", "0")) != 0:  # the first process alone makes, clears and removes the folder
        yield folder
        return
    _check(folder, overwrite)
    try:
        yield folder
    finally:
        if folder.is_dir() and {file.name for file in folder.iterdir()} <= {MANIFEST}:
            shutil.rmtree(folder)


def clear(folder: Path) -> None:
    """Removes an earlier run's own files, and marks the folder as a run's. Whatever else lies there stays."""
    for name in _own_files(folder):
        file = folder / name
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
    (folder / MANIFEST).write_text("")


def _check(folder: Path, overwrite: bool) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: not a folder")
        there = {file.name for file in folder.iterdir()} if folder.exists() else set()
        if there and not there & {MANIFEST, RECORD_FILE}:
            raise UserError(f"{folder}: not empty and not a run of peftkit; choose another output folder")
        if others := sorted(there - _own_files(folder)):
            raise UserError(f"{folder}: holds {others[0]!r}, which no run has written; choose another output folder")
        if RECORD_FILE in there and Record.load(folder).status == "ok" and not overwrite:
            raise UserError(f"{folder}: already holds a finished run; give --overwrite or another output folder")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


def _own_files(folder: Path) -> set[str]:
    """Names of what a run writes: those of every run, and those that the manifest lists."""
    manifest = folder / MANIFEST
    return {*WRITTEN, *(manifest.read_text(encoding="utf-8").splitlines() if manifest.exists() else ())}


def save_run(
    model: Module,
    method: Method,
    task: Task,
    recipe: Recipe,
    folder: Path,
) -> None:
    """What was trained, in peft's own format; the model's config with the class names; processor and recipe.

    Raises:
        UserError: the disk is full or not writable.
    """
    from safetensors import SafetensorError

    try:
        config: Any = model.config
        config.update(task.config())  # what was chosen in training (thresholds) is kept with the model
        method.save(model, folder)
        if not (folder / COMPLETE_CONFIG).exists():
            save_model_config(config, recipe, folder)
        task.processor.save_pretrained(folder)
        (folder / RECIPE_FILE).write_text(recipe.to_yaml(), encoding="utf-8")
        for file in folder.rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes for the owner alone; an adapter is to be read by others
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        (folder / MANIFEST).write_text("".join(f"{name}\n" for name in sorted(file.name for file in folder.iterdir())))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def save_model_config(config: Any, recipe: Recipe, folder: Path) -> None:
    """Writes the config of the model under an adapter, with no quantization that its base's checkpoint has not got:
    transformers would take one for that of weights that are quantized on disk."""
    content = json.loads(config.to_json_string())
    if getattr(load_config(recipe.model), "quantization_config", None) is None:
        content.pop("quantization_config", None)
    (folder / ADAPTER_MODEL_CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def saved_config(folder: Path) -> dict[str, Any]:
    """The model's config in a run's or an adapter's folder. Raises UserError when there is none."""
    for name in (COMPLETE_CONFIG, ADAPTER_MODEL_CONFIG):
        if (folder / name).is_file():
            found: dict[str, Any] = content_of(folder / name)
            return found
    raise UserError(f"{folder}: does not say its classes; put the config of its model there as {ADAPTER_MODEL_CONFIG}")


def check_reload(
    model: Module,
    method: Method,
    task: Task,
    recipe: Recipe,
    rows: Encoded,
    folder: Path,
    accelerator: Accelerator,
) -> float:
    """Loads what was saved into a fresh base with another seed and compares logits; the largest difference.

    Raises:
        PeftkitError: the reloaded model is not the trained one.
    """
    batch = task.collate(rows.examples[:CHECKED_ROWS]).to(accelerator.device)
    trained = logits_of(model, batch, accelerator)
    if all(parameter.is_floating_point() for parameter in model.parameters()):  # packed weights stay where they are
        model.to("cpu")  # two models need not fit the device together
    base = load_base(recipe, task, accelerator.device, seed=recipe.seed + 1)
    fresh = method.load(base, folder).to(accelerator.device)
    again = logits_of(fresh, batch, accelerator)
    difference = float((trained - again).abs().max())
    allowed = TOLERANCE[recipe.model.dtype] * max(1.0, float(trained.abs().max()))
    if not difference <= allowed:
        raise PeftkitError(
            f"{folder}: loaded again, the adapter gives other logits (off by {difference:.2g}, allowed {allowed:.2g})"
        )
    return difference
