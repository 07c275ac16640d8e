"""A suite: a base recipe and lists to vary; expands into cells, each a recipe of its own."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from peftkit.contracts import Settings
from peftkit.errors import RecipeErrors, UserError, suggest
from peftkit.recipe import Recipe, check, find
from peftkit.recipe.reading import Places, lay_over, place_of, read_yaml

Grid = dict[str, list[Any]]
"""Recipe keys (dotted below the first level) and the values each takes; a grid is the product of its lists."""


class Suite(Settings):
    """``base``: a recipe's name, path or content. ``vary``: a grid, or several one after the other."""

    base: str | dict[str, Any]
    vary: list[Grid] = Field(min_length=1)
    description: str = ""

    @field_validator("vary", mode="before")
    @classmethod
    def _one_grid_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


@dataclass(frozen=True)
class Cell:
    """One recipe of a suite, and the folder name it has in every run of that suite."""

    name: str
    recipe: Recipe


def load_suite(source: str | Path, overrides: Sequence[str] = ()) -> list[Cell]:
    """The cells of a suite by path, shipped name or ``package:name``; `overrides` are laid over the base recipe.

    Raises:
        UserError: the suite or one of its cells is wrong, with file:line and the cell.
    """
    path = find(str(source), "suites")
    data, places = read_yaml(path)
    try:
        suite = Suite.model_validate(data)
    except ValidationError as error:
        raise RecipeErrors(_suite_lines(error, places)) from None
    base, base_places = _base(suite.base, path, places)
    lay_over(base, base_places, overrides)
    cells: dict[str, Cell] = {}
    errors: list[str] = []
    for index, grid in enumerate(suite.vary):
        for name, varied in _expand(base, grid):
            try:
                recipe = check(varied, base_places)
            except RecipeErrors as error:
                place = place_of(places, ("vary", index)) or str(path)
                errors += [f"{place}: cell {name}: {line}" for line in error.lines]
                continue
            cells.setdefault(recipe.hash, Cell(f"{name}-{recipe.hash[:8]}", recipe))
    if errors:
        raise RecipeErrors(dict.fromkeys(errors))
    return list(cells.values())


def _base(base: str | dict[str, Any], suite: Path, places: Places) -> tuple[dict[str, Any], Places]:
    if isinstance(base, dict):
        return base, {key[1:]: place for key, place in places.items() if key[:1] == ("base",)}
    beside = suite.parent / base
    return read_yaml(beside if beside.is_file() else find(base))


def _expand(base: dict[str, Any], grid: Grid) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every combination of a grid's values laid over the base, with a name for it."""
    for values in itertools.product(*grid.values()):
        varied = copy.deepcopy(base)
        for key, value in zip(grid, values, strict=True):
            _set(varied, key, copy.deepcopy(value))
        yield "-".join(filter(None, map(_slug, grid, values))) or "base", varied


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    *above, last = dotted.split(".")
    for part in above:
        below = data.get(part)
        if not isinstance(below, dict):
            below = {} if below is None else {"source" if part == "data" else "name": below}
        data[part] = below
        data = below
    data[last] = value


def _slug(key: str, value: Any) -> str:
    """A folder-safe word for one varied value: ``lora-r16``, ``4bit``, ``seed1``, ``learning_rate0.001``."""
    if isinstance(value, dict):
        words = "-".join(f"{'' if isinstance(v, str) else k}{v}" for k, v in value.items())
    elif key in ("method", "quantization", "model", "task"):
        words = str(value)
    else:
        words = f"{key.rsplit('.', 1)[-1]}{value}"
    return re.sub(r"[^A-Za-z0-9.=_-]+", "_", words)[:80]


def _suite_lines(error: ValidationError, places: Places) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        key = tuple(problem["loc"][:1])
        near = suggest(str(key[-1]), Suite.model_fields) if problem["type"] == "extra_forbidden" else ""
        message = "unknown key" if problem["type"] == "extra_forbidden" else str(problem["msg"])
        yield f"{place_of(places, key)}: {'.'.join(map(str, key))}: {message}{near} (allowed: base, vary, description)"


def cell_folders(cells: Sequence[Cell], output: Path) -> dict[str, Path]:
    """The folder of every cell by name. Raises UserError when `output` is a file."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: not a folder")
    return {cell.name: output / "cells" / cell.name for cell in cells}
