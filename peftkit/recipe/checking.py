"""Plain data → recipe, or every mistake in it at once: a line each, with its place and the nearest match."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from peftkit.errors import Key, RecipeErrors, suggest, unknown
from peftkit.methods import METHODS
from peftkit.recipe.reading import Places, place_of
from peftkit.recipe.spec import Data, Model, Quantization, Recipe, Training
from peftkit.tasks import TASKS

GROUPS: dict[str, type[BaseModel]] = {
    "model": Model,
    "quantization": Quantization,
    "data": Data,
    "training": Training,
}
TABLES: dict[str, dict[str, Any]] = {"method": METHODS, "task": TASKS}


def check(data: dict[str, Any], places: Places) -> Recipe:
    """The recipe that `data` describes, remembering its `places`. Raises RecipeErrors."""
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeErrors(_lines(error, places)) from None
    recipe.remember(places)
    return recipe


def _lines(error: ValidationError, places: Places) -> Iterator[str]:
    told: set[Key] = set()
    for problem in error.errors(include_url=False):
        key = _written_key(problem["loc"])
        if key in told:  # the branches of a union complain one by one about the same value
            continue
        told.add(key)
        place = place_of(places, key)
        message = _message(dict(problem), key)
        yield ": ".join(part for part in (place, ".".join(str(part) for part in key), message) if part)


def _written_key(location: tuple[int | str, ...]) -> Key:
    """pydantic's location without the parts that no user wrote: the tag of a union, the branch of a type."""
    group, rest = location[:1], location[1:]
    if group and group[0] in TABLES and rest and rest[0] in TABLES[str(group[0])]:
        rest = rest[1:]
    return (*group, *rest[:1])


def _message(problem: dict[str, Any], key: Key) -> str:
    kind, given, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{suggest(str(key[-1]), _keys_beside(problem['loc']))}{_allowed(problem['loc'])}"
    if kind == "missing":
        return "required, and not there"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        name = given.get("name") if isinstance(given, dict) else given
        if name is None:
            return f"needs a name (allowed: {', '.join(sorted(TABLES[str(key[0])]))})"
        return unknown(str(key[0]), str(name), TABLES[str(key[0])])
    if kind == "value_error":
        return str(context.get("error", problem["msg"]))
    if kind == "literal_error":
        choices = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        return f"{given!r} is not one of {', '.join(choices)}{suggest(str(given), choices)}"
    if kind == "model_type" or kind == "model_attributes_type":
        return f"expected keys below it, given {given!r}"
    message = str(problem["msg"]).replace("Input should", "should").replace("Input", "it")
    return f"{message}, given {given!r}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Keys allowed where `location`'s last part stands."""
    if len(location) == 1:
        return list(Recipe.model_fields)
    group = str(location[0])
    if group in TABLES:
        return list(TABLES[group][str(location[1])].settings_class.model_fields)
    return list(GROUPS[group].model_fields)


def _allowed(location: tuple[int | str, ...]) -> str:
    return f" (allowed: {', '.join(_keys_beside(location))})"
