"""Plain data → recipe, or every mistake in it at once: a line each, with its place and the nearest match."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from peftkit.adapters import refusal
from peftkit.errors import Key, RecipeErrors, suggest, unknown
from peftkit.methods import METHODS
from peftkit.mixtures import MIXTURE
from peftkit.recipe.groups import Data, Model, Quantization, Training
from peftkit.recipe.reading import Places, place_of
from peftkit.recipe.spec import Recipe
from peftkit.tasks import TASKS

GROUPS: dict[str, type[BaseModel]] = {
    "model": Model,
    "quantization": Quantization,
    "data": Data,
    "training": Training,
}
EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys below it",
    "model_type": "keys below it",
    "model_attributes_type": "keys below it",
}
"""pydantic's kinds of type errors, and what would be right."""
TABLES: dict[str, dict[str, Any]] = {"method": METHODS, "task": TASKS}


def check(data: dict[str, Any], places: Places) -> Recipe:
    """The recipe that `data` describes, remembering its `places`. Raises RecipeErrors."""
    try:
        recipe = Recipe.model_validate(data, strict=True)
    except ValidationError as error:
        raise RecipeErrors(_lines(error, data, places)) from None
    recipe.remember(places)
    return recipe


def _lines(error: ValidationError, data: dict[str, Any], places: Places) -> Iterator[str]:
    for key, message in _mistakes(error, data):
        yield ": ".join(part for part in (place_of(places, key), ".".join(map(str, key)), message) if part)


def _mistakes(error: ValidationError, data: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    problems: dict[Key, list[dict[str, Any]]] = {}
    for problem in error.errors(include_url=False):
        if problem["type"] == "impossible":
            yield from problem["ctx"]["objections"]
        else:
            problems.setdefault(_written_key(problem["loc"], problem["type"], data), []).append(dict(problem))
    for key, found in problems.items():
        if not any(len(other) > len(key) and other[: len(key)] == key for other in problems):
            yield key, _message(found, key)  # else another branch of the union got further: its complaint is the one


def _written_key(location: tuple[int | str, ...], kind: str, data: Any) -> Key:
    """pydantic's location without the parts that no user wrote: the tag of a union, the branch of a type."""
    parts = list(location[:-1] if kind == "missing" else location)
    if len(parts) > 1 and parts[0] in TABLES and parts[1] in TABLES[str(parts[0])]:
        alone = isinstance(data[parts[0]], list)  # the list of a mixture, and one method in it
        parts[1:2] = [0] if alone else []
    key: list[str | int] = []
    for part in parts:
        written = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
        if part in written:
            data = data[part]
            key.append(part)
    return (*key, *location[-1:]) if kind == "missing" else tuple(key)


def _message(problems: list[dict[str, Any]], key: Key) -> str:
    """What is wrong with the value at `key`; several problems are the branches of one union."""
    problem = problems[0]
    kind, given, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{suggest(str(key[-1]), _keys_beside(problem['loc']))}{_allowed(problem['loc'])}"
    if kind == "missing":
        return "required, and not there"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        name = given.get("name") if isinstance(given, dict) else given
        if name is None:
            return f"needs a name (allowed: {', '.join(sorted(TABLES[str(key[0])]))})"
        why_not = refusal(str(name)) if key[0] == "method" else None
        return why_not or unknown(str(key[0]), str(name), TABLES[str(key[0])])
    if kind == "value_error":
        return str(context.get("error", problem["msg"]))
    if kind == "string_pattern_mismatch":
        return f"expected a name, or a share such as 10%, given {_told(given)}"
    if kind == "literal_error" or kind in EXPECTED:
        return _expected(problems)
    message = str(problem["msg"]).replace("Input should", "should").replace("String should", "should")
    return f"{message}, given {_told(given)}"


def _expected(problems: list[dict[str, Any]]) -> str:
    """``expected true or false, or one of gaussian, olora, given 'olra', did you mean olora?``"""
    given, near, expected = problems[0].get("input"), "", []
    for problem in problems:
        if problem["type"] == "literal_error":
            choices = str(problem["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            near = suggest(str(given), choices)
            expected.append(f"one of {', '.join(choices)}")
        else:
            expected.append(EXPECTED.get(problem["type"], str(problem["msg"])))
    quoted = " (in quotes it is text)" if "text" in expected and isinstance(given, bool | int | float) else ""
    return f"expected {', or '.join(dict.fromkeys(expected))}, given {_told(given)}{quoted}{near}"


def _told(given: Any) -> str:
    """A value as a recipe spells it, cut where it is long."""
    words = {None: "nothing", True: "true", False: "false"}
    return words[given] if given is None or isinstance(given, bool) else f"{given!r:.80}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Keys allowed where `location`'s last part stands."""
    if len(location) == 1:
        return list(Recipe.model_fields)
    group = str(location[0])
    if group in TABLES:
        place = 4 if location[1] == MIXTURE else 1  # method, mixture, parts, place, name
        settings: type[BaseModel] = TABLES[group][str(location[place])].settings_class
        for key in location[place + 1 : -1]:  # a group of settings inside, such as lora's eva_config
            inner = get_args(settings.model_fields[str(key)].annotation)
            settings = next(kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel))
        return list(settings.model_fields)
    return list(GROUPS[group].model_fields)


def _allowed(location: tuple[int | str, ...]) -> str:
    return f" (allowed: {', '.join(_keys_beside(location))})"
