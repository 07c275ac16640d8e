"""Where rows come from: built in, files and folders, or the hub."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.data import stdlib_docstrings
from peftkit.errors import UserError, suggest, unknown
from peftkit.recipe import Data

if TYPE_CHECKING:
    from datasets import Dataset

BUILTIN = {"stdlib-docstrings": stdlib_docstrings.rows}
FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
SOURCE = ("data", "source")


def read_splits(data: Data) -> Splits:
    """The splits there are at the source, read one by one when asked for. Raises UserError."""
    source = data.source
    if isinstance(source, dict):
        return Splits({split: _existing(file) for split, file in source.items()})
    if isinstance(source, list):
        return Splits({_stem(Path(file)): _existing(file) for file in source})
    if source.startswith("builtin:"):
        name = source.removeprefix("builtin:")
        if name not in BUILTIN:
            raise UserError(unknown("built-in source", name, BUILTIN), SOURCE)
        return Splits(dict(BUILTIN[name]()))
    path = Path(source).expanduser()
    if path.is_dir():
        return Splits(_folder(path))
    if path.is_file():
        return Splits({data.train: path})
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or path.suffix in FORMATS:
        raise UserError(f"{source}: no such file or folder", SOURCE)
    return Splits(_hub(data, source))


class Splits:
    """Splits by name; `read` gives one as a Dataset."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts

    @property
    def names(self) -> list[str]:
        """The splits there are."""
        return list(self.parts)

    def read(self, split: str, key: tuple[str, ...]) -> Dataset:
        """The rows of `split`; `key` is the setting that asked. Raises UserError when it is not there or unreadable."""
        from datasets import Dataset
        from pyarrow import ArrowException

        if split not in self.parts:
            near = suggest(split, self.names)
            raise UserError(f"no split {split!r} at the source{near} (there are: {', '.join(self.names)})", key)
        part = self.parts[split]
        try:
            rows = Dataset.from_list(part) if isinstance(part, list) else part
            rows = read_split(part) if isinstance(part, Path) else rows
        except (ArrowException, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{part if isinstance(part, Path) else split}: the rows do not form a table: {reason}", key
            ) from None
        if len(rows) == 0:
            raise UserError(f"{part if isinstance(part, Path) else split}: holds no rows", key)
        return _class_names(rows)


def read_split(path: Path) -> Dataset:
    """The rows of one file (jsonl, json, csv, tsv, parquet, arrow; the text formats also as .gz).

    Text is read here and not through datasets' own readers: those keep a cache that goes stale, turn ``NA`` and ``null``
    in CSV into missing values, and cannot say in which line an error stands.
    """
    from datasets import Dataset

    kind = _format(path)
    try:
        if kind == ".parquet":
            return Dataset.from_parquet(str(path), keep_in_memory=True)
        if kind == ".arrow":
            return Dataset.from_file(str(path))
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            text = opened.read().decode("utf-8-sig")
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}", SOURCE) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})", SOURCE) from None
    rows = list(_csv_rows(path, text, kind) if kind in (".csv", ".tsv") else _json_rows(path, text, kind))
    return Dataset.from_list(rows)


def _json_rows(path: Path, text: str, kind: str) -> Iterator[dict[str, Any]]:
    if kind == ".json" and text.lstrip().startswith("["):
        lines: Iterator[tuple[int, str]] = iter([(1, text)])
    else:
        lines = ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    for number, line in lines:
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not valid JSON: {error}", SOURCE) from None
        for row in value if isinstance(value, list) else [value]:
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number}: expected an object with columns, found {row!r:.60}", SOURCE)
            yield row


def _csv_rows(path: Path, text: str, kind: str) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if kind == ".tsv" else ",", strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                columns = len(reader.fieldnames or ())
                raise UserError(f"{path}:{reader.line_num}: a row with other than {columns} columns", SOURCE)
            yield row
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not valid {kind[1:].upper()}: {error}", SOURCE) from None


def _folder(folder: Path) -> dict[str, Path]:
    """Files by split: the name before the first dot."""
    files = {_stem(file): file for file in sorted(folder.iterdir()) if file.is_file() and _format(file) in FORMATS}
    if not files:
        raise UserError(f"{folder}: holds no data file ({', '.join(FORMATS)})", SOURCE)
    return files


def _hub(data: Data, name: str) -> Mapping[str, Dataset]:
    from datasets import load_dataset

    try:
        found: Mapping[str, Dataset] = load_dataset(name, data.config, revision=data.revision)
    except Exception as error:  # the library raises a different family of errors for every way this can fail
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"data set {name!r} is not a local file or folder and could not be had from the hub ({first}); "
            "give a folder or files instead",
            SOURCE,
        ) from error
    return found


def _class_names(rows: Dataset) -> Dataset:
    """Class numbers (datasets' ClassLabel) become the names they stand for; -1, the hub's word for hidden, missing."""
    from datasets import ClassLabel, Value

    for column, feature in rows.features.items():
        if isinstance(feature, ClassLabel):
            names = [feature.int2str(number) if number >= 0 else None for number in rows[column]]
            rows = rows.remove_columns(column).add_column(column, names, feature=Value("string"))
    return rows


def _existing(file: str) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"{file}: no such file", SOURCE)
    if _format(path) not in FORMATS:
        raise UserError(f"{file}: unknown format (allowed: {', '.join(FORMATS)}, text also as .gz)", SOURCE)
    return path


def _format(path: Path) -> str:
    suffixes = path.suffixes
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")


def _stem(path: Path) -> str:
    return path.name.split(".", 1)[0]
