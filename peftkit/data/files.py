"""Rows of files: jsonl, json, csv, tsv, parquet, arrow; the text formats also as .gz, .bz2, .xz and .zst."""

from __future__ import annotations

import csv
import io
import json
import lzma
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peftkit.data.columns import SOURCE, Row, plain, table
from peftkit.errors import UserError, suggest, unknown

if TYPE_CHECKING:
    from datasets import Dataset

TEXT_FORMATS = (".jsonl", ".json", ".csv", ".tsv")
FORMATS = (*TEXT_FORMATS, ".parquet", ".arrow")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": None}
"""By suffix, pyarrow's names of them; xz it lacks."""


def read_file(path: Path) -> Dataset:
    """The rows of one file. Raises UserError, with the line where the file has lines."""
    return read_files([path])


def read_files(paths: Sequence[Path], *, keep_misfits: bool = False) -> Dataset:
    """The rows of files of one format, one after the other; `keep_misfits` is `table`'s, for formats without kinds.

    Raises UserError: one is unreadable, columns do not fit.

    Files are read here and not through datasets' own readers: those keep a cache that goes stale, turn ``NA`` and
    ``null`` in CSV into missing values, and cannot say in which line an error stands.
    """
    from datasets import concatenate_datasets

    for path in paths:
        check_format(path)
    if file_format(paths[0]) in TEXT_FORMATS:
        return table([(str(path), list(_rows(path))) for path in paths], keep_misfits=keep_misfits)
    parts = [plain(_columns(path)) for path in paths]
    if len(parts) == 1:
        return parts[0]
    _check_features(paths, parts)
    return concatenate_datasets(parts)


def file_format(path: Path) -> str:
    """The suffix that tells the format, that of a compression aside."""
    suffixes = path.suffixes
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in COMPRESSIONS else path.suffix


def check_format(path: Path) -> None:
    """Raises UserError when the name of a file tells no format, or a compression that cannot be read."""
    kind = file_format(path)
    if kind in FORMATS:
        if kind not in TEXT_FORMATS and path.suffix in COMPRESSIONS:
            raise UserError(f"{path}: {kind[1:]} is compressed in itself; unpack the {path.suffix}", SOURCE)
    elif len(path.suffixes) > 1 and path.suffixes[-2] in TEXT_FORMATS:
        raise UserError(f"{path}: {unknown('compression', kind, COMPRESSIONS)}", SOURCE)
    else:
        allowed = f"{', '.join(FORMATS)}, text also as {', '.join(COMPRESSIONS)}; images as .zip"
        raise UserError(f"{path}: unknown format{suggest(kind, FORMATS)} (allowed: {allowed})", SOURCE)


def _columns(path: Path) -> Dataset:
    import pyarrow.parquet
    from datasets import Dataset

    kind = file_format(path)
    try:
        return Dataset(pyarrow.parquet.read_table(path)) if kind == ".parquet" else Dataset.from_file(str(path))
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not {kind[1:]}: {str(error).splitlines()[0]}", SOURCE) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _check_features(paths: Sequence[Path], parts: Sequence[Dataset]) -> None:
    from datasets import Value

    known: dict[str, tuple[object, Path]] = {}
    for path, part in zip(paths, parts, strict=True):
        for column, feature in part.features.items():
            first, where = known.setdefault(column, (feature, path)) if feature != Value("null") else (feature, path)
            if feature != first:
                raise UserError(f"{path}: column {column!r} is {feature}, but {first} in {where.name}", SOURCE)


def _rows(path: Path) -> Iterator[Row]:
    kind = file_format(path)
    try:
        text = _unpacked(path).decode("utf-8-sig")
    except (OSError, EOFError, lzma.LZMAError, NotImplementedError) as error:  # the last: a pyarrow without a codec
        raise _unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})", SOURCE) from None
    return _csv_rows(path, text, kind) if kind in (".csv", ".tsv") else _json_rows(path, text, kind)


def _unpacked(path: Path) -> bytes:
    if path.suffix == ".xz":
        with lzma.open(path) as opened:
            return opened.read()
    import pyarrow

    with path.open("rb") as packed, pyarrow.input_stream(packed, compression=COMPRESSIONS.get(path.suffix)) as opened:
        content: bytes = opened.read()
    return content


def _unreadable(path: Path, error: Exception) -> UserError:
    told = (str(getattr(error, "strerror", None) or error).splitlines() or [type(error).__name__])[0]
    return UserError(f"{path}: cannot be read: {told}", SOURCE)


def _json_rows(path: Path, text: str, kind: str) -> Iterator[Row]:
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


def _csv_rows(path: Path, text: str, kind: str) -> Iterator[Row]:
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
