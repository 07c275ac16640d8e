"""Encoded rows kept on disk by their content: the cells of a bench, and runs of one recipe, encode once."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Task
from peftkit.errors import UserError
from peftkit.writing import whole_file

if TYPE_CHECKING:
    from datasets import Dataset

FOLDER = "PEFTKIT_CACHE"
"""Environment variable: where the cache lies; ``off`` for none."""
MOST_BYTES = 5 * 10**9
"""The files used longest ago are removed when all together take more."""
IN_USE = 7 * 24 * 3600
"""Seconds: an archive of files used since then may be open in a run, and stays."""
CODE = ("contracts", "examples", "tasks", "data")
"""What, besides the libraries, decides how rows are encoded."""


def cached(key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives, from disk when it was made before under this key; JSON data."""
    folder = _folder()
    if folder is None:
        return make()
    file = folder / f"{key}.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        file.touch()  # used now: stays longest
    except (OSError, ValueError):  # not there, or torn by another hand
        found = make()
        _keep(file, found)
    return found


def archived(key: str, files: Callable[[], Iterable[tuple[str, bytes]]]) -> Path:
    """A zip archive of `files`, names and contents, made where there is none under this key yet.

    Without a cache it lies in a temporary folder and is gone with the process.

    Raises:
        UserError: the disk is full or not writable.
    """
    archive = (_folder() or Path(_temporary().name)) / f"{key}.zip"
    try:
        if archive.exists():
            archive.touch()
            return archive
        archive.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(archive) as temporary, zipfile.ZipFile(temporary, "w") as opened:
            for name, content in files():
                opened.writestr(name, content)
        _shrink(archive.parent)
    except OSError as error:
        told = f"{archive}: cannot be written: {error.strerror or error}; {FOLDER} names another folder"
        raise UserError(told, ("data", "source")) from None
    return archive


def key_of(rows: Dataset, task: Task, max_length: int | None, *more: str) -> str:
    """32 hex digits over all that the encoded rows depend on: content, task, processor, limit, code and libraries."""
    digest = hashlib.sha256()
    for part in (
        task.settings.model_dump(mode="json", exclude={"metrics"}),
        task.config(),
        [max_length, *more],
        list(map(_described, task.encoded_by())),
        _code(),
    ):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=repr).encode())
    return digest.hexdigest()[:32]


def _folder() -> Path | None:
    chosen = os.environ.get(FOLDER)
    if chosen == "off":
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else home / "peftkit" / "encoded"


@cache
def _temporary() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="peftkit-files-")


def _keep(file: Path, found: dict[str, Any]) -> None:
    """Writes an entry; a disk that is full or not writable costs the cache, not the run."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
        _shrink(file.parent)
    except OSError:
        return


def _shrink(folder: Path) -> None:
    there = [*folder.glob("*.json"), *folder.glob("*.zip")]
    entries = sorted(((entry.stat(), entry) for entry in there), key=lambda pair: -pair[0].st_mtime)
    taken = 0
    for facts, entry in entries:
        taken += facts.st_size
        if taken > MOST_BYTES and (entry.suffix == ".json" or facts.st_mtime < time.time() - IN_USE):
            entry.unlink(missing_ok=True)


def _described(part: Any) -> Any:
    """What a tokenizer or an image processor does, as data; JSON data as it is."""
    if part is None or isinstance(part, str | int | float | Sequence | Mapping):
        return part
    backend = getattr(part, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        del content["truncation"], content["padding"]  # left over from the last call
        return [content, getattr(part, "chat_template", None), part.model_input_names, part.padding_side]
    if hasattr(part, "get_vocab"):  # a tokenizer in Python: its class, its words and what it was made with decide
        return [type(part).__name__, part.get_vocab(), part.init_kwargs, part.model_input_names, part.padding_side]
    return [type(part).__name__, part.to_dict()]


@cache
def _code() -> list[str]:
    """Versions of the libraries, and the content of our own files that encode."""
    import tokenizers
    import transformers

    package = Path(__file__).parent.parent
    files = sorted(file for part in CODE for file in (*package.glob(f"{part}.py"), *package.glob(f"{part}/**/*.py")))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return [transformers.__version__, tokenizers.__version__, digest]
