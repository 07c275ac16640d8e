"""What peft's tuners can be told, read from their configs into a data file: recipes are checked without peft.

`python -m peftkit.adapters.fields` writes the file anew; a test fails when it is stale for the installed peft.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "peft_fields.json"
WORDS: dict[Any, str] = {
    type(None): "nothing",
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    list[str]: "texts",
    list[int]: "ints",
}
"""The types of fields in the file, by annotation; ``dict`` and ``any`` beside them, and literals as ``choices``."""


@functools.cache
def known_fields() -> dict[str, dict[str, dict[str, Any]]]:
    """Fields by name by peft's tuner, from the file: ``{"VERA": {"r": {"types": ["int"], "default": 256, …}}}``."""
    tuners: dict[str, dict[str, dict[str, Any]]] = json.loads(FILE.read_text(encoding="utf-8"))["tuners"]
    return tuners


def describe() -> dict[str, Any]:
    """The file's content for the installed peft; tuners that other packages registered are left out."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    shared = {field.name for field in dataclasses.fields(peft.PeftConfig)}
    own = {kind.value: made for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items() if made.__module__[:5] == "peft."}
    tuners = {kind: _fields_of(own[kind], shared) for kind in sorted(own)}
    return {"peft": peft.__version__, "tuners": tuners}


def write() -> None:
    """Writes the file for the installed peft."""
    FILE.write_text(json.dumps(describe(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _fields_of(config: type, shared: set[str]) -> dict[str, dict[str, Any]]:
    """The fields that `config` adds to every peft config's."""
    hints = typing.get_type_hints(config)
    documented = _documented(config)
    found = {}
    for field in dataclasses.fields(config):
        if field.name not in shared:
            about = field.metadata.get("help") or documented.get(field.name, "")
            about = " ".join(about) if isinstance(about, tuple) else about  # a stray comma in peft's source
            found[field.name] = {**_type(hints[field.name]), "default": _default(field), "about": _sentence(about)}
    return found


def _type(annotation: Any) -> dict[str, Any]:
    """The words for an annotation, and its literals or enum values, which take the place of plain text beside them."""
    words: set[str] = set()
    choices: list[Any] = []
    for part in _parts(annotation):
        if typing.get_origin(part) is typing.Literal:
            choices += typing.get_args(part)
        elif isinstance(part, type) and issubclass(part, enum.Enum):
            choices += [member.value for member in part]
        elif part in WORDS:
            words.add(WORDS[part])
        else:
            words.add("dict" if part is dict or typing.get_origin(part) is dict else "any")
    if choices:
        words.discard("text")
    return {"types": sorted(words), **({"choices": choices} if choices else {})}


def _parts(annotation: Any) -> list[Any]:
    """The branches of a union, or the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for branch in typing.get_args(annotation) for part in _parts(branch)]
    return [annotation]


def _default(field: dataclasses.Field[Any]) -> Any:
    """The default as JSON data; None where there is none or JSON has no word for it."""
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        value = None if field.default is dataclasses.MISSING else field.default
    value = value.value if isinstance(value, enum.Enum) else value
    return value if value is None or isinstance(value, bool | int | float | str | dict | list) else None


def _documented(config: type) -> dict[str, str]:
    """What the class's docstring says of its arguments, for fields that bring no help of their own."""
    text = inspect.getdoc(config) or ""
    entry = re.compile(r"^ {4}(\w+) \(.*?\):(.*(?:\n {8}.*)*)", re.MULTILINE)
    return {match[1]: match[2] for match in entry.finditer(text)}


def _sentence(about: str) -> str:
    """The first sentence of `about`, on one line."""
    return re.split(r"(?<=[a-z0-9)`'\"\]])\.(?:\s|$|(?=[A-Z][a-z]))", " ".join(about.split()), maxsplit=1)[0].rstrip(
        "."
    )


if __name__ == "__main__":
    write()
