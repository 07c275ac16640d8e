"""The model card: a run's record as the hub's README, metadata block in front. Nothing that is not in the record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peftkit.data.files import FORMATS, file_format
from peftkit.errors import UserError
from peftkit.interop.folders import adapter_configs, folder_of_run
from peftkit.interop.loading_code import loading_code
from peftkit.interop.markup import block, code, number, table, text
from peftkit.output import MANIFEST
from peftkit.recipe import CARRIED
from peftkit.recipe.reading import dump_yaml
from peftkit.record import Record, content_of
from peftkit.writing import whole_file

CARD_FILE = "README.md"
COSTS = {
    "trainable_parameters": "trained parameters",
    "total_parameters": "parameters, base included",
    "trainable_share": "share trained, from 0 to 1",
    "adapter_bytes": "size of what was trained, bytes",
    "peak_memory_bytes": "peak memory, bytes",
    "train_seconds": "training, seconds",
    "train_tokens": "tokens trained on",
    "samples_per_second": "samples a second, in training",
    "tokens_per_second": "tokens a second, in training, padding left out",
}
"""What the card says of the record's costs, and in which words."""
SETTLED = {
    "learning_rate": "peak learning rate",
    "effective_batch_size": "rows to an optimizer step",
    "total_steps": "optimizer steps planned",
    "max_length": "tokens a row was cut to",
    "mixed_precision": "mixed precision",
}


def card_of(folder: str | Path) -> str:
    """The card of a finished run, Markdown with the hub's metadata in front.

    Raises:
        UserError: there is no record, or it is not that of a finished run.
    """
    folder = folder_of_run(folder)
    record = finished(folder)
    parts = [_title(record), *_scores(record), *_training(record), *_data(record), *_costs(record)]
    parts += [*_environment(record), *_use(record, folder)]
    return f"---\n{metadata(record, folder).to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def write_card(folder: str | Path) -> Path:
    """Writes the card into the run's folder as ``README.md``; returns its path. A new run may replace it."""
    folder = folder_of_run(folder)
    path, manifest = folder / CARD_FILE, folder / MANIFEST
    content = card_of(folder)
    with whole_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    if manifest.is_file() and CARD_FILE not in (names := manifest.read_text(encoding="utf-8").splitlines()):
        manifest.write_text("".join(f"{name}\n" for name in sorted([*names, CARD_FILE])), encoding="utf-8")
    return path


def finished(folder: Path) -> Record:
    """The record in `folder`. Raises UserError when it is not that of a finished run."""
    record = Record.load(folder)
    if record.status != "ok":
        raise UserError(f"{folder}: not a finished run: its record says {record.status}")
    return record


def metadata(record: Record, folder: Path) -> Any:
    """huggingface_hub's ModelCardData: the base and the data where they are the hub's, scores as they were measured."""
    from huggingface_hub import EvalResult, ModelCardData

    task, data = record.recipe["task"]["name"], record.recipe["data"]
    source = hub_data(record)
    results = [
        EvalResult(
            task_type=task,
            dataset_type=source or "custom",
            dataset_name=source or _source(record),
            dataset_config=data.get("config"),
            dataset_split=record.scored_split,
            dataset_revision=data.get("revision"),
            metric_type=name,
            metric_value=value,
        )
        for name, value in _finite(record)
    ]
    is_adapter = bool(adapter_configs(folder))
    base = hub_base(record, folder)
    bits = (record.recipe.get("quantization") or {}).get("bits")
    return ModelCardData(
        base_model=base,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=task,
        tags=["peftkit", *record.method_name.split("+"), *([f"{bits}-bit"] if bits else [])],
        datasets=[source] if source else None,
        metrics=[name for name, _ in _finite(record) if name != "loss"] or None,
        model_name=record.title,
        eval_results=results or None,
    )


def hub_base(record: Record, folder: Path) -> str | None:
    """The base's name on the hub; None where it was a folder."""
    name: str = record.recipe["model"]["name"]
    if name in CARRIED:
        return name
    if not _may_be_on_the_hub(name):
        return None
    loaded = [content_of(config).get("base_model_name_or_path") for config in adapter_configs(folder)]
    return name if all(other == name for other in loaded) else None  # a folder is named by its whole path


def hub_data(record: Record) -> str | None:
    """The data's name on the hub; None where it was files, built in or given from Python."""
    source = record.recipe["data"]["source"]
    hub = isinstance(source, str) and "/" in source and _may_be_on_the_hub(source)
    return source if hub and file_format(Path(source)) not in (*FORMATS, ".zip") else None


def unfit_for_the_hub(name: str) -> str | None:
    """Why `name` cannot be a repository's, in one line; None where it can."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but loaded lazily

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        return " ".join(str(error).split())
    return None


def _may_be_on_the_hub(name: str) -> bool:
    return unfit_for_the_hub(name) is None and not Path(name).exists()


def _finite(record: Record) -> Iterator[tuple[str, float]]:
    return ((name, value) for name, value in record.scores.items() if math.isfinite(value))


def _source(record: Record) -> str:
    """The data's source in one line; of files only the last part of their path."""
    source = record.recipe["data"]["source"]
    parts = list(source.values()) if isinstance(source, dict) else source if isinstance(source, list) else [source]
    return ", ".join(part if part.startswith("builtin:") or part == "given" else Path(part).name for part in parts)


def _title(record: Record) -> str:
    base, bits = record.recipe["model"]["name"], record.recipe.get("quantization")
    quantized = f", its frozen weights in {bits['bits']} bits" if bits else ""
    told = f"{code(Path(base).name if Path(base).is_absolute() else base)}{quantized}, trained with"
    task = f"for {code(record.recipe['task']['name'])} on {code(hub_data(record) or _source(record))}"
    return f"# {text(record.title)}\n\n{told} {code(record.method_name)} {task}, by peftkit."


def _scores(record: Record) -> Iterator[str]:
    if record.scores:
        rows = record.data.get(record.scored_split or "", {}).get("rows")
        of_them = f", {rows:,} rows" if rows else ""
        yield f"## Scores\n\nMeasured on the {text(record.scored_split)} split{of_them}, once, after training."
        yield table(["metric", "value"], ([code(name), number(value)] for name, value in record.scores.items()))


def _training(record: Record) -> Iterator[str]:
    yield "## Training"
    settled = {label: record.resolved[key] for key, label in SETTLED.items() if record.resolved.get(key) is not None}
    settled["seed"] = record.recipe.get("seed", 0)
    yield table(
        ["as the run settled it", ""],
        ([label, text(value) if isinstance(value, str) else number(value)] for label, value in settled.items()),
    )
    yield f"The recipe as given (hash {code(record.recipe_hash)}):"
    yield block(dump_yaml(record.recipe), "yaml")


def _data(record: Record) -> Iterator[str]:
    if record.data:
        keys = {"rows": "rows", "examples": "examples", "tokens": "tokens", "rows_cut": "rows cut"}
        yield "## Rows"
        yield table(
            ["split", *keys.values(), "fingerprint of the encoded rows"],
            (
                [code(split), *(number(part.get(key)) for key in keys), code(part.get("fingerprint", "–"))]
                for split, part in record.data.items()
            ),
        )


def _costs(record: Record) -> Iterator[str]:
    there = {label: record.costs[key] for key, label in COSTS.items() if record.costs.get(key) is not None}
    if there:
        yield "## Costs"
        yield table(["measured", ""], ([label, number(value)] for label, value in there.items()))
        if method := record.costs.get("memory", {}).get("method"):
            yield f"Memory: {text(method)}."


def _environment(record: Record) -> Iterator[str]:
    environment = record.environment
    hardware = environment.get("hardware", {})
    facts = {"python": environment.get("python"), **environment.get("versions", {})}
    facts |= {key: hardware.get(key) for key in ("device", "device_name", "processor", "cores", "processes")}
    rows = [[text(name), text(value)] for name, value in facts.items() if value is not None]
    if rows:
        yield "## Environment"
        yield table(["", ""], rows)


def _use(record: Record, folder: Path) -> Iterator[str]:
    yield "## Use it"
    yield "`folder` is this folder, or this repository once fetched (`huggingface_hub.snapshot_download`)."
    yield block("\n".join(loading_code(folder, hub_base(record, folder))), "python")
    yield "With peftkit, rows go in and predictions come out:"
    yield block("import peftkit\n\npredictions = peftkit.load(folder).predict(rows)", "python")
