"""Cells that are files, such as images: found, read once, replaced by where they lie and a hash of their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.archives import locate, read_bytes
from peftkit.contracts import File, Task
from peftkit.data.cache import archived
from peftkit.recipe import Data

if TYPE_CHECKING:
    from datasets import Dataset


def root_of(data: Data) -> Path:
    """The folder that relative paths in cells refer to, absolute: that of the files, of the first if there are many.

    The current folder where the rows are no files (built in, given from Python, from the hub).
    """
    source = data.source
    if isinstance(source, str):
        path = Path(os.path.expanduser(source))
        folder = path if path.is_dir() else path.parent if path.is_file() else Path()
    else:
        files = list(source.values()) if isinstance(source, dict) else source
        folder = Path(os.path.expanduser(files[0])).parent if files else Path()
    return folder.absolute()


def with_files(rows: Dataset, task: Task, root: Path) -> Dataset:
    """The rows with a `File` in every cell that the task says is one; relative paths are looked for in `root`.

    Every file is read once here, so that what is kept of a row follows the file's content and not its name. Files that
    the rows themselves hold, as data sets of the hub do, are laid into an archive beside the encoded rows. A file that
    cannot be read stays in its row as a fault: whether that ends the run is the recipe's to say.
    """
    for column in task.files():
        if column in rows.column_names:
            rows = _with_column(rows, column, [_found(cell, root) for cell in _cells(rows, column)])
    return rows


def _found(cell: Any, root: Path) -> File | None:
    if cell is None:
        return None
    try:
        content = read_bytes(cell, root)
        place = "" if _holds_file(cell) else locate(cell["path"] if isinstance(cell, Mapping) else cell, root)
    except ValueError as error:
        return {"place": None, "sha256": None, "fault": str(error)}
    return {"place": place, "sha256": hashlib.sha256(content).hexdigest(), "fault": None}


def _with_column(rows: Dataset, column: str, files: list[File | None]) -> Dataset:
    """`rows` with `files` in the column; those that have no place yet get one in an archive."""
    import pyarrow
    from datasets import Dataset

    if held := sorted({file["sha256"] for file in files if file and file["place"] == "" and file["sha256"]}):
        key = hashlib.sha256("".join(held).encode()).hexdigest()[:32]
        archive = archived(key, lambda: _contents(rows, column))
        for file in files:
            if file and file["place"] == "":
                file["place"] = f"{archive}::{file['sha256']}"
    kind = pyarrow.struct([(name, pyarrow.string()) for name in File.__annotations__])
    others = [name for name in rows.column_names if name != column]  # one by one: files may be larger than memory
    columns = {name: rows.select_columns([name]).with_format("arrow")[:][name] for name in others}
    columns[column] = pyarrow.array(files, kind)
    return Dataset(pyarrow.table({name: columns[name] for name in rows.column_names}))


def _contents(rows: Dataset, column: str) -> Iterator[tuple[str, bytes]]:
    """Every file that the rows hold, once, named by its hash."""
    done = set()
    for cell in _cells(rows, column):
        if _holds_file(cell) and (name := hashlib.sha256(cell["bytes"]).hexdigest()) not in done:
            done.add(name)
            yield name, cell["bytes"]


def _cells(rows: Dataset, column: str) -> Iterator[Any]:
    return (row[column] for row in rows.select_columns([column]))


def _holds_file(cell: Any) -> bool:
    return isinstance(cell, Mapping) and isinstance(cell.get("bytes"), bytes)
