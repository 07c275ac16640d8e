"""Where rows come from: built in, files and folders, or the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.data.files import FORMATS, SOURCE, by_split, file_format, folder_splits, read_file
from peftkit.data.stdlib_docstrings import rows as stdlib_docstrings
from peftkit.errors import UserError, suggest, unknown
from peftkit.recipe import Data

if TYPE_CHECKING:
    from datasets import Dataset

BUILTIN = {"stdlib-docstrings": stdlib_docstrings}


def read_splits(data: Data) -> Splits:
    """The splits there are at the source, read one by one when asked for. Raises UserError."""
    source = data.source
    if isinstance(source, dict):
        return Splits({split: _existing(file) for split, file in source.items()})
    if isinstance(source, list):
        return Splits(by_split([_existing(file) for file in source]))
    if source.startswith("builtin:"):
        name = source.removeprefix("builtin:")
        if name not in BUILTIN:
            raise UserError(unknown("built-in source", name, BUILTIN), SOURCE)
        return Splits(dict(BUILTIN[name]()))
    path = Path(source).expanduser()
    if path.is_dir():
        return Splits(folder_splits(path))
    if path.is_file():
        return Splits({data.train: _existing(source)})
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or file_format(path) in FORMATS:
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

        if split not in self.parts:
            near, there = suggest(split, self.names), ", ".join(self.names) or "none"
            raise UserError(f"no split {split!r} at the source{near} (there are: {there})", key)
        part = self.parts[split]
        if isinstance(part, Path):
            rows = read_file(part)
        else:
            rows = Dataset.from_list(part) if isinstance(part, list) else part
        if len(rows) == 0:
            raise UserError(f"{part if isinstance(part, Path) else split}: holds no rows", key)
        return _class_names(rows)


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
            numbers = (-1 if number is None else number for number in rows[column])
            names = [feature.int2str(number) if number >= 0 else None for number in numbers]
            rows = rows.remove_columns(column).add_column(column, names, feature=Value("string"))
    return rows


def _existing(file: str) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"{file}: no such file", SOURCE)
    if file_format(path) not in FORMATS:
        raise UserError(f"{file}: unknown format (allowed: {', '.join(FORMATS)}, text also as .gz)", SOURCE)
    return path
