"""Where rows come from: built in, files and folders, images, Python, or the hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.data.columns import SOURCE, Row, plain, table
from peftkit.data.files import FORMATS, check_format, file_format, read_files
from peftkit.data.folders import Files, by_split, folder_splits
from peftkit.data.images import SUFFIXES, image_splits
from peftkit.data.stdlib_docstrings import rows as stdlib_docstrings
from peftkit.errors import UserError, suggest, unknown
from peftkit.recipe import Data

if TYPE_CHECKING:
    from datasets import Dataset

BUILTIN = {"stdlib-docstrings": stdlib_docstrings}
GIVEN = "given"
SPLIT_NAMES = ("train", "validation", "valid", "val", "dev", "test")
"""Names of sub-folders that are splits, beside those that the recipe gives."""

Given = Mapping[str, Iterable[Mapping[str, Any]]] | Iterable[Mapping[str, Any]]
"""Rows from Python: by split, or those of the training split alone; datasets' own are both, and a split may be a
pandas DataFrame."""


def read_splits(data: Data, given: Given | None = None) -> Splits:
    """The splits there are at the source, read one by one when asked for; `given` are the rows of ``source: given``.

    Raises:
        UserError: nothing is there, it is of no known kind, or its files do not tell their splits.
    """
    source, keep_misfits = data.source, data.invalid_rows == "drop"
    if source == GIVEN or given is not None:
        return Splits(_given(data, given), keep_misfits)
    if isinstance(source, dict):
        return Splits({split: _of_files(data, (_existing(file),)) for split, file in source.items()}, keep_misfits)
    if isinstance(source, list):
        parts = by_split([_existing(file) for file in source])
        return Splits({split: _of_files(data, files) for split, files in parts.items()}, keep_misfits)
    if source.startswith("builtin:"):
        name = source.removeprefix("builtin:")
        if name not in BUILTIN:
            raise UserError(unknown("built-in source", name, BUILTIN), SOURCE)
        return Splits(dict(BUILTIN[name]()), keep_misfits)
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        return Splits(_folder(data, path), keep_misfits)
    if path.is_file():
        if file_format(_existing(source)) == ".zip":
            return Splits(_archive(data, path), keep_misfits)
        return Splits({data.train: (path,)}, keep_misfits)
    local = source.startswith((".", "/", "~")) or source.count("/") > 1 or file_format(path) in (*FORMATS, ".zip")
    if local:
        raise UserError(f"{source}: no such file or folder", SOURCE)
    return Splits(_hub(data, source), keep_misfits)


class Splits:
    """Splits by name; `read` gives one as a Dataset."""

    def __init__(self, parts: Mapping[str, Files | list[Row] | Dataset], keep_misfits: bool) -> None:
        """`keep_misfits` is whether a cell of another kind than its column spoils its row alone."""
        self.parts, self.keep_misfits = parts, keep_misfits

    @property
    def names(self) -> list[str]:
        """The splits there are."""
        return list(self.parts)

    def read(self, split: str, key: tuple[str, ...]) -> Dataset:
        """The rows of `split`; `key` is the setting that asked. Raises UserError when it is not there or unreadable."""
        if split not in self.parts:
            near, there = suggest(split, self.names), ", ".join(self.names) or "none"
            raise UserError(f"no split {split!r} at the source{near} (there are: {there})", key)
        part = self.parts[split]
        if isinstance(part, tuple):
            rows = read_files(part, keep_misfits=self.keep_misfits)
        elif isinstance(part, list):
            rows = table([(split, part)], keep_misfits=self.keep_misfits)
        else:
            rows = plain(part)
        if len(rows) == 0:
            raise UserError(f"{part[0] if isinstance(part, tuple) else split}: holds no rows", key)
        return rows


def _split_names(data: Data) -> list[str]:
    wanted = [name for name in (data.train, data.validation, data.test) if name and not name.endswith("%")]
    return list(dict.fromkeys([*SPLIT_NAMES, *wanted]))


def _folder(data: Data, folder: Path) -> Mapping[str, Files | list[Row]]:
    """Data files by split; the images of a folder without any. Raises UserError when there are neither."""
    names = _split_names(data)
    try:
        found = folder_splits(folder, names) or image_splits(folder, names, data.train)
        archives = sorted(folder.glob("*.zip"))
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be read: {error.strerror or error}", SOURCE) from None
    if not found:
        give = f"; give an archive of images by its own name: data.source={archives[0]}" if archives else ""
        raise UserError(f"{folder}: holds no data file ({', '.join(FORMATS)}) and no images{give}", SOURCE)
    return found


def _archive(data: Data, path: Path) -> Mapping[str, list[Row]]:
    found = image_splits(path, _split_names(data), data.train)
    if not found:
        raise UserError(f"{path}: holds no images ({', '.join(SUFFIXES)})", SOURCE)
    return found


def _of_files(data: Data, files: Files) -> Files | list[Row]:
    """The files of a split as they are; the rows of an archive of images, which must be one split."""
    if file_format(files[0]) != ".zip":
        return files
    found = _archive(data, files[0])
    if len(found) > 1:
        told = f"holds the splits {', '.join(found)} by itself; give it alone: data.source={files[0]}"
        raise UserError(f"{files[0]}: {told}", SOURCE)
    return next(iter(found.values()))


def _given(data: Data, given: Given | None) -> dict[str, list[Row] | Dataset]:
    """Rows from Python by split; what can be read only once is kept as a list."""
    from datasets import Dataset

    if given is None:
        raise UserError(f"data.source is {GIVEN}: pass rows=… from Python", SOURCE)
    if data.source != GIVEN:
        raise UserError(f"rows are passed from Python, but data.source is {data.source!r}; write {GIVEN} there", SOURCE)
    parts = given if isinstance(given, Mapping) else {data.train: given}
    return {split: part if isinstance(part, Dataset) else _row_list(split, part) for split, part in parts.items()}


def _row_list(split: str, part: Iterable[Any]) -> list[Row]:
    from pandas import DataFrame  # type: ignore[import-untyped]

    if isinstance(part, DataFrame):  # what pandas calls missing (NaN) is an empty cell, not a number
        part = part.astype(object).where(part.notna(), None).to_dict("records")
    if not isinstance(part, Iterable) or isinstance(part, str | bytes | Mapping):
        raise UserError(f"{split}: expected rows, a list of dicts or a DataFrame, found {_kind(part)}", SOURCE)
    rows: list[Row] = []
    for number, row in enumerate(part, 1):
        if not isinstance(row, Mapping):
            raise UserError(f"{split}: row {number}: expected a dict of columns, found {_kind(row)}", SOURCE)
        if alien := [column for column in row if not isinstance(column, str)]:
            raise UserError(f"{split}: row {number}: {alien[0]!r:.60} is no name of a column", SOURCE)
        rows.append(dict(row))
    return rows


def _kind(value: object) -> str:
    return " ".join(f"{type(value).__name__} {value!r:.60}".split())


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


def _existing(file: str) -> Path:
    path = Path(os.path.expanduser(file))
    if not path.is_file():
        raise UserError(f"{file}: no such file", SOURCE)
    if path.suffix != ".zip" or file_format(Path(path.stem)) in FORMATS:
        check_format(path)
    return path
