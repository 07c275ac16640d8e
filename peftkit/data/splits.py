"""Train, validation and test rows: taken by name or cut by share, in proportion, seeded, checked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from peftkit.contracts import ROW_NUMBER, Task
from peftkit.data.cells import root_of, with_files
from peftkit.data.columns import MISFIT
from peftkit.data.sources import Given, Splits, read_splits
from peftkit.errors import UserError, suggest
from peftkit.recipe import Data

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_SHARE = "10%"


def load_splits(data: Data, task: Task, given: Given | None = None) -> dict[str, Dataset]:
    """``train``, ``validation`` and ``test``; without test rows at the source there is no ``test``.

    Raises:
        UserError: a split or column is not there (the message lists those that are).
    """
    source = read_splits(data, given)
    alone = len(source.names) == 1 and "train" not in data.model_fields_set
    taken = {source.names[0] if alone else data.train: "train"}
    rows = _read(source, next(iter(taken)), ("data", "train"))
    _check_columns({"train": rows}, task)
    splits: dict[str, Dataset] = {}
    for split, wanted in (("test", data.test), ("validation", data.validation)):
        wanted = wanted or _by_default(split, [name for name in source.names if name not in taken])
        if wanted is None:
            continue
        if wanted in taken:
            raise UserError(f"split {wanted!r} is {taken[wanted]} already", ("data", split))
        taken |= {} if wanted.endswith("%") else {wanted: split}
        if wanted.endswith("%"):
            rows, splits[split] = _cut(rows, wanted, task, data.split_seed, ("data", split))
        else:
            splits[split] = _read(source, wanted, ("data", split))
    splits = {"train": rows, **splits}
    _check_columns(splits, task)
    limits = {"train": data.max_train_samples, "validation": data.max_eval_samples, "test": data.max_predict_samples}
    limited = {split: _limit(split, part, limits[split], task, data.split_seed) for split, part in splits.items()}
    return {split: with_files(part, task, root_of(data)) for split, part in limited.items()}


def load_whole(data: Data, task: Task, split: str, given: Given | None = None) -> Dataset:
    """All rows of one split of a source that nothing was trained on; a source with a single split gives that one.

    Raises:
        UserError: the split or a column is not there.
    """
    source = read_splits(data, given)
    rows = _read(source, source.names[0] if len(source.names) == 1 else split, ("data", "source"))
    _check_columns({split: rows}, task)
    return with_files(rows, task, root_of(data))


def _read(source: Splits, split: str, key: tuple[str, ...]) -> Dataset:
    """A split with its rows numbered, which they stay through every cut."""
    rows = source.read(split, key)
    return rows.add_column(ROW_NUMBER, list(range(1, len(rows) + 1)))


def _by_default(split: str, free: list[str]) -> str | None:
    for name in {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}[split]:
        if name in free:
            return name
    return DEFAULT_SHARE if split == "validation" else None


def _cut(rows: Dataset, share: str, task: Task, seed: int, key: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    """The rows that stay, at least one of every class, and the `share` that is cut off, each in its old order."""
    wanted = round(len(rows) * Fraction(share[:-1]) / 100)
    taken = set(_spread(rows, wanted, task, seed)) if 0 < wanted < len(rows) else set()
    if (column := task.stratify_by()) is not None:
        classes = [str(value) for value in rows[column]]
        kept = {name for row, name in enumerate(classes) if row not in taken}
        taken -= {classes.index(name) for name in set(classes) - kept}
    if not taken:
        raise UserError(f"{share} of {len(rows)} rows leaves one side empty", key)
    return rows.select([i for i in range(len(rows)) if i not in taken]), rows.select(sorted(taken))


def _limit(split: str, rows: Dataset, most: int | None, task: Task, seed: int) -> Dataset:
    if most is None or most >= len(rows):
        return rows
    column = task.stratify_by()
    kinds = {str(value) for value in rows[column] if not isinstance(value, list)} if column is not None else set()
    if split == "train" and most < (classes := len(kinds)):
        key = ("data", "max_train_samples")
        raise UserError(f"{most} rows cannot hold one of each of the {classes} classes in train", key)
    return rows.select(sorted(_spread(rows, most, task, seed)))


def _spread(rows: Dataset, wanted: int, task: Task, seed: int) -> list[int]:
    """`wanted` row numbers, drawn with the seed, the classes in proportion: every n-th of a shuffle sorted by class."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    if (column := task.stratify_by()) is not None:
        classes = [str(value) for value in rows[column]]
        order.sort(key=lambda row: classes[row])  # stable: random within a class
    return [order[(2 * i + 1) * len(order) // (2 * wanted)] for i in range(wanted)]


def _check_columns(splits: Mapping[str, Dataset], task: Task) -> None:
    for split, rows in splits.items():
        for setting, column in task.columns().items():
            if column not in rows.column_names:
                there = [name for name in rows.column_names if name not in (ROW_NUMBER, MISFIT)]
                told = f"no column {column!r} in {split}{suggest(column, there)} (columns there: {', '.join(there)})"
                raise UserError(told, ("task", setting))
