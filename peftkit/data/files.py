"""Rows of a file, and the files of a folder: jsonl, json, csv, tsv, parquet, arrow; the text formats also as .gz."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
SOURCE = ("data", "source")


def read_file(path: Path) -> Dataset:
    """The rows of one file. Raises UserError, with the line where the file has lines.

    Files are read here and not through datasets' own readers: those keep a cache that goes stale, turn ``NA`` and
    ``null`` in CSV into missing values, and cannot say in which line an error stands.
    """
    import pyarrow.parquet
    from datasets import Dataset

    kind = file_format(path)
    try:
        if kind == ".parquet":
            return Dataset(pyarrow.parquet.read_table(path))
        if kind == ".arrow":
            return Dataset.from_file(str(path))
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            text = opened.read().decode("utf-8-sig")
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not {kind[1:]}: {str(error).splitlines()[0]}", SOURCE) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}", SOURCE) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})", SOURCE) from None
    return _table(path, list(_csv_rows(path, text, kind) if kind in (".csv", ".tsv") else _json_rows(path, text, kind)))


def folder_splits(folder: Path) -> dict[str, Path]:
    """Data files by split; other files are left alone. Raises UserError when there is none."""
    there = (file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith("."))
    files = [file for file in there if file_format(file) in FORMATS]
    if not files:
        raise UserError(f"{folder}: holds no data file ({', '.join(FORMATS)})", SOURCE)
    return by_split(files)


def by_split(files: Iterable[Path]) -> dict[str, Path]:
    """Each file by its split, the name before the first dot. Raises UserError when two are of one name."""
    splits: dict[str, Path] = {}
    for file in files:
        split = file.name.split(".", 1)[0]
        if split in splits:
            raise UserError(
                f"{splits[split]} and {file.name} are both split {split!r}; give the files by split: "
                f"data.source={{{split}: {file}}}",
                SOURCE,
            )
        splits[split] = file
    return splits


def file_format(path: Path) -> str:
    """The suffix that tells the format, ``.gz`` aside."""
    suffixes = path.suffixes
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")


def _json_rows(path: Path, text: str, kind: str) -> Iterator[dict[str, Any]]:
    if kind == ".json" and text.lstrip().startswith("["):
        documents: Iterable[tuple[int, str]] = [(1, text)]
    else:  # not splitlines(): that also parts a line at U+2028, which JSON allows inside a string
        documents = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    for number, document in documents:
        try:
            value = json.loads(document)
        except json.JSONDecodeError as error:
            line = number + error.lineno - 1
            raise UserError(f"{path}:{line}: not valid JSON: {error.msg} (column {error.colno})", SOURCE) from None
        for row in value if isinstance(value, list) else [value]:
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number}: expected an object with columns, found {row!r:.60}", SOURCE)
            yield row


def _csv_rows(path: Path, text: str, kind: str) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)  # a document may be longer than the 128 KiB that the module allows by default
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if kind == ".tsv" else ",", strict=True)
    columns: list[str] = []
    line = 1
    try:
        for cells in reader:
            if not columns:
                columns = cells
                if twice := [name for name in columns if columns.count(name) > 1]:
                    raise UserError(f"{path}:{line}: column {twice[0]!r} is there twice", SOURCE)
            elif cells:
                if len(cells) != len(columns):
                    raise UserError(f"{path}:{line}: {len(cells)} cells in a row of {len(columns)} columns", SOURCE)
                yield dict(zip(columns, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{line}: not valid {kind[1:].upper()}: {error}", SOURCE) from None


def _table(path: Path, rows: list[dict[str, Any]]) -> Dataset:
    """A column for every key that any row has. Raises UserError naming the first cell that is of another kind."""
    import pyarrow
    from datasets import Dataset

    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    for name, cells in columns.items():
        if not _fits(cells):
            row = bisect_left(range(1, len(cells) + 1), True, key=lambda count: not _fits(cells[:count]))
            beside = " beside the rows above it" if row else ""
            raise UserError(f"{path}: row {row + 1}: column {name!r} cannot hold {cells[row]!r:.60}{beside}", SOURCE)
    return Dataset(pyarrow.table(columns))


def _fits(cells: list[Any]) -> bool:
    """Whether the cells are of one kind, so that they form a column."""
    import pyarrow

    try:
        pyarrow.array(cells)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True
