"""A suite: a base recipe and lists to vary; expands into cells, each a recipe of its own."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from peftkit.contracts import Settings
from peftkit.errors import Key, RecipeErrors, UserError, suggest
from peftkit.recipe import Recipe, check, find
from peftkit.recipe.forms import long_form
from peftkit.recipe.reading import Places, lay_over, place_of, read_yaml

Grid = dict[str, Annotated[list[Any], Field(min_length=1)]]
"""Recipe keys (dotted below the first level) and the values each takes; a grid is the product of its lists."""
LONGEST_NAME = 100
"""Characters of a cell's name before its hash; file systems take 255 bytes."""


class Suite(Settings):
    """``base``: a recipe's name, path or content. ``vary``: a grid, or several one after the other."""

    base: str | dict[str, Any]
    vary: list[Grid] = Field(min_length=1)
    description: str = ""


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
    if isinstance(data.get("vary"), dict):
        data["vary"] = [data["vary"]]
        places = {("vary", 0, *key[1:]) if key[:1] == ("vary",) else key: place for key, place in places.items()}
    try:
        suite = Suite.model_validate(data)
    except ValidationError as error:
        raise RecipeErrors(_suite_lines(error, places)) from None
    base, base_places = _base(suite.base, path, places)
    lay_over(base, base_places, overrides)
    cells: dict[str, Cell] = {}
    mistakes: dict[str, list[str]] = {}
    for index, grid in enumerate(suite.vary):
        for name, varied, varied_places in _expand(base, base_places, grid, ("vary", index), places):
            try:
                recipe = check(varied, varied_places)
            except RecipeErrors as error:
                for line in error.lines:
                    mistakes.setdefault(line, []).append(name)
                continue
            cells.setdefault(recipe.hash, Cell(f"{name}-{recipe.hash[:8]}", recipe))
    if mistakes:
        raise RecipeErrors(f"{line} (in cell {', '.join(names)})" for line, names in mistakes.items())
    return list(cells.values())


def _base(base: str | dict[str, Any], suite: Path, places: Places) -> tuple[dict[str, Any], Places]:
    if isinstance(base, dict):
        return base, {key[1:]: place for key, place in places.items() if key[:1] == ("base",)}
    beside = suite.parent / base
    try:
        return read_yaml(beside if beside.is_file() else find(base))
    except UserError as error:
        raise UserError(f"{place_of(places, ('base',))}: base: {error}") from None


def _expand(
    base: dict[str, Any], base_places: Places, grid: Grid, key: Key, places: Places
) -> Iterator[tuple[str, dict[str, Any], Places]]:
    """Every combination of a grid's values laid over the base: a name, the recipe's data, and where it is written."""
    for chosen in itertools.product(*(enumerate(values) for values in grid.values())):
        varied, varied_places = copy.deepcopy(base), dict(base_places)
        for dotted, (number, value) in zip(grid, chosen, strict=True):
            below = (*key, dotted, number)
            written = {place[len(below) :]: line for place, line in places.items() if place[: len(below)] == below}
            _set(varied, varied_places, dotted, copy.deepcopy(value), written)
        words = (_slug(dotted, value) for dotted, (_, value) in zip(grid, chosen, strict=True))
        yield "-".join(filter(None, words))[:LONGEST_NAME] or "base", varied, varied_places


def _set(data: dict[str, Any], places: Places, dotted: str, value: Any, written: Places) -> None:
    """Puts `value` at a dotted key, spelling out the short forms on the way; it stands where `written` says."""
    key = tuple(dotted.split("."))
    for depth, part in enumerate(key[:-1], 1):
        below = data.get(part) if depth > 1 else long_form(part, data.get(part))
        if not isinstance(below, dict | None):
            raise UserError(
                f"{written.get((), '')}: {dotted}: {'.'.join(key[:depth])} has no keys below it in the base"
            )
        data[part] = below or {}
        data = data[part]
    data[key[-1]] = value
    for replaced in [place for place in places if place[: len(key)] == key]:
        del places[replaced]
    places.update({(*key, *below): line for below, line in written.items()})


def _slug(key: str, value: Any) -> str:
    """A folder-safe word for one varied value: ``lora-r16``, ``4bit``, ``seed1``, ``learning_rate0.001``."""
    if key == "method" and isinstance(value, list):
        words = "-".join(_slug(key, part) for part in value)
    elif isinstance(value, dict):
        words = "-".join(f"{'' if isinstance(v, str) else k}{v}" for k, v in value.items())
    elif key in ("method", "quantization", "model", "task"):
        words = str(value)
    else:
        words = f"{key.rsplit('.', 1)[-1]}{value}"
    return re.sub(r"[^A-Za-z0-9.=_-]+", "_", words).strip("._-")


def _suite_lines(error: ValidationError, places: Places) -> Iterator[str]:
    """A line for every mistake in a suite's own keys."""
    told: set[Key] = set()
    for problem in error.errors(include_url=False):
        key = problem["loc"] if problem["loc"][0] == "vary" else problem["loc"][:1]  # no branches of base's union
        message = {
            "extra_forbidden": f"unknown key{suggest(str(key[0]), Suite.model_fields)} "
            f"(allowed: {', '.join(Suite.model_fields)})",
            "missing": "required, and not there",
            "list_type": "expected a list of values",
            "too_short": "an empty list",
            "dict_type": "expected recipe keys, each with a list of values",
        }.get(problem["type"], "expected text, or a recipe's content" if key == ("base",) else str(problem["msg"]))
        if key not in told:
            yield f"{place_of(places, key)}: {'.'.join(map(str, key))}: {message}"
        told.add(key)


def cell_folders(cells: Sequence[Cell], output: Path) -> dict[str, Path]:
    """The folder of every cell by name. Raises UserError when `output` is a file."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: not a folder")
    return {cell.name: output / "cells" / cell.name for cell in cells}
