"""The record: one finished run as plain data, written whole or not at all. No torch here."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from peftkit.errors import UserError
from peftkit.writing import whole_file

SCHEMA_VERSION: Final = 1
RECORD_FILE = "record.json"
PREDICTIONS_FILE = "predictions.parquet"
Status = Literal["ok", "failed", "out-of-memory", "interrupted"]
STACK = ("peftkit", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "evaluate", "numpy")


class Record(BaseModel):
    """One run. Times in seconds, sizes in bytes, shares from 0 to 1; what was not measured is absent or null."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")  # JSON itself has no NaN

    schema_version: Literal[1] = SCHEMA_VERSION
    status: Status
    error: str | None = None
    """Why it failed: one line, then the traceback where it was a defect."""
    started: datetime
    seconds: float
    """Wall time of the whole run."""
    recipe: dict[str, Any]
    """The recipe as given, before training."""
    recipe_hash: str
    resolved: dict[str, Any] = {}
    """Settings that the recipe left open, as the run chose them."""
    environment: dict[str, Any] = {}
    data: dict[str, Any] = {}
    """Rows, columns and fingerprints by split; how many rows were cut to the length limit."""
    costs: dict[str, Any] = {}
    phases: dict[str, float] = {}
    """Seconds by phase: import, tokenize, load, train, evaluate, save."""
    scores: dict[str, float] = {}
    """Final scores by metric."""
    scored_split: str | None = None
    detail: dict[str, Any] = {}
    """What does not fit a column, e.g. a per-class table."""
    history: list[dict[str, Any]] = []
    """Loss, learning rate and evaluation scores by optimizer step."""
    method: dict[str, Any] = {}
    """What the method says of itself after training: target coverage, final ranks."""

    @property
    def title(self) -> str:
        """``lora r=16 + bitfit, 4bit``: the recipe's method or methods, their given settings, its quantization."""
        method = self.recipe["method"]
        given = " + ".join(map(_named, method if isinstance(method, list) else [method]))
        quantization = self.recipe.get("quantization")
        bits = f", {quantization['bits']}bit" if quantization else ""
        return f"{given}{bits}"

    @property
    def method_name(self) -> str:
        """``lora``, or the names of a mixture's parts: ``lora+bitfit``."""
        method = self.recipe["method"]
        return "+".join(part["name"] for part in (method if isinstance(method, list) else [method]))

    def save(self, folder: Path) -> Path:
        """Writes ``record.json`` into `folder` atomically; returns its path."""
        path = folder / RECORD_FILE
        with whole_file(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads a record, or the record in a folder. Raises UserError when it is not there or not a record."""
        file = path / RECORD_FILE if path.is_dir() else path
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{file}: not a record: not UTF-8 text") from None
        except ValidationError as error:
            raise UserError(f"{file}: {_reason(error)}") from None


def failure(recipe: dict[str, Any], recipe_hash: str, error: str) -> Record:
    """The record of a run that ended before it could keep one of its own."""
    return Record(
        status="failed", error=error, started=now(), seconds=0.0, recipe=recipe, recipe_hash=recipe_hash,
        environment=environment({}),
    )  # fmt: skip


def _named(method: dict[str, Any]) -> str:
    """``lora r=16``: a method's name and its given settings."""
    given = (
        str(value) if isinstance(value, str) else f"{key}={value}" for key, value in method.items() if key != "name"
    )
    return " ".join([method["name"], *given])


def _reason(error: ValidationError) -> str:
    """The first thing that is wrong with a file as a record."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"]))
    if where == "schema_version":
        return f"a record of schema version {problem['input']!r:.20}; this peftkit reads version {SCHEMA_VERSION}"
    return f"not a record: {where}{': ' if where else ''}{problem['msg'].splitlines()[0]}"


def load_records(folder: Path) -> list[tuple[Path, Record]]:
    """Every record below `folder`, with the folder it stands in, by path. Raises UserError when there is none."""
    if not folder.exists():
        raise UserError(f"{folder}: no such folder")
    found = [(path.parent, Record.load(path)) for path in sorted(folder.rglob(RECORD_FILE))]
    if not found:
        raise UserError(f"{folder}: no {RECORD_FILE} below this folder")
    return found


def save_predictions(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes one row per scored example (``row``, ``reference``, the prediction's fields) as parquet, atomically."""
    import pyarrow
    import pyarrow.parquet

    path = folder / PREDICTIONS_FILE
    with whole_file(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), temporary)
    return path


def now() -> datetime:
    """The time, with its zone (UTC)."""
    return datetime.now(UTC)


def environment(hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Versions of the stack, the machine, and the state of the code that ran."""
    versions: dict[str, str | None] = {}
    for package in STACK:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "hardware": {"processor": _processor(), "cores": os.cpu_count(), **hardware},
        "git": _git_state(Path(__file__).parent),
    }


def _processor() -> str:
    """The processor's model name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and whether the tree is dirty, when peftkit runs from a checkout of its own."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")) != folder.parent.resolve():
            return None  # installed into somebody else's checkout
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def content_of(path: Path) -> Any:
    """JSON data of a file. Raises UserError when it is not there or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path}: not valid JSON") from None
