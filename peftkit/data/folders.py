"""Which file of a folder belongs to which split: by its name, as a shard of several, or by its sub-folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from peftkit.data.columns import SOURCE
from peftkit.data.files import FORMATS, check_format, file_format
from peftkit.errors import UserError

Files = tuple[Path, ...]
"""The files of one split, in order."""
SHARD = re.compile(r"(?P<split>.+?)[-_](?P<number>\d{5,}|\d+(?=-of-))(-of-(?P<count>\d+)(-[0-9a-f]+)?)?")
"""``train-00000-of-00003``, ``train-00001``: the names that datasets and the hub give; fewer digits may be a year."""
BESIDE = ("dataset_info.json", "dataset_dict.json", "state.json")
"""What datasets' ``save_to_disk`` writes beside the rows."""


def folder_splits(folder: Path, names: Iterable[str]) -> dict[str, Files]:
    """Data files by split, those of sub-folders with one of `names` too; other files are left alone.

    Raises:
        UserError: two files are one split, or shards of one are missing.
    """
    splits = by_split(_data_files(folder))
    for name in dict.fromkeys(names):
        if (folder / name).is_dir() and (files := _one_split(folder / name)):
            if name in splits:
                raise _both(name, splits[name][0], files[0])
            splits[name] = files
    return dict(sorted(splits.items()))


def by_split(files: Iterable[Path]) -> dict[str, Files]:
    """Files by split, the name before the first dot; shards of a split are joined in the order of their numbers.

    Raises:
        UserError: two files are one split, or shards of one are missing.
    """
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split(file), []).append(file)
    return {split: _in_order(split, files) for split, files in splits.items()}


def _data_files(folder: Path) -> list[Path]:
    there = [file for file in sorted(folder.iterdir()) if not file.name.startswith(".") and file.name not in BESIDE]
    files = [file for file in there if file.is_file() and file_format(file) in FORMATS]
    for file in files:
        check_format(file)
    return files


def _one_split(folder: Path) -> Files:
    """All data files of a folder that is one split, whatever name they share; the hub's are ``0000.parquet``, …"""
    files = _data_files(folder)
    numbers = {int(_stem(file)): file for file in files if _stem(file).isdecimal()}
    if len(numbers) == len(files) and len({file_format(file) for file in files}) == 1:
        return tuple(numbers[number] for number in sorted(numbers))
    if len({_split(file) for file in files}) > 1:
        raise _both(folder.name, files[0], files[-1])
    return _in_order(folder.name, files)


def _in_order(split: str, files: list[Path]) -> Files:
    shards = {int(shard["number"]): file for file in files if (shard := _shard(file))}
    counts = {shard["count"] for file in files if (shard := _shard(file))}
    formats = {file_format(file) for file in files}
    if len(files) > 1 and (len(shards) < len(files) or len(counts) > 1 or len(formats) > 1):
        raise _both(split, *files[:2])
    count = int(next(iter(counts), None) or 0)
    if len(shards) < count:
        first = int(count in shards)  # most count from 0, some from 1
        missing = min(set(range(first, first + count)) - set(shards))
        told = f"{len(shards)} of {count} shards of split {split!r} are there, number {missing} is missing"
        raise UserError(f"{files[0].parent}: {told}", SOURCE)
    return tuple(shards[number] for number in sorted(shards)) or tuple(files)


def _shard(file: Path) -> re.Match[str] | None:
    return SHARD.fullmatch(_stem(file))


def _split(file: Path) -> str:
    return shard["split"] if (shard := _shard(file)) else _stem(file)


def _stem(file: Path) -> str:
    return file.name.split(".", 1)[0]


def _both(split: str, one: Path, other: Path) -> UserError:
    told = f"{one} and {other.name} are both split {split!r}; give the files by split"
    return UserError(f"{told}: data.source={{{split}: {other}}}", SOURCE)
