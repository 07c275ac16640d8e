"""YAML 1.2 in and out, with the position of every key kept, and ``key=value`` overrides laid over it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.resolver import VersionedResolver

from peftkit.errors import Key, UserError
from peftkit.recipe.forms import long_form

Places = dict[Key, str]
"""Where each key of a recipe was written: ``recipe.yaml:12`` or ``command line``."""

COMMAND_LINE = "command line"


class CoreSchema(VersionedResolver):
    """YAML 1.2's core schema (10.3.2): ruamel's reading without dates, ``1_000`` and ``0b1``, which there are text."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)
        name = str(tag).rpartition(":")[2]
        foreign = name == "timestamp" or (name in ("int", "float") and re.search("_|^[-+]?0b", value))
        return self.DEFAULT_SCALAR_TAG if foreign else tag


def read_yaml(path: Path) -> tuple[dict[str, Any], Places]:
    """The mapping in `path` as plain data, and where its keys stand. Raises UserError with file:line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: cannot be read: {reason}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, origin: str) -> tuple[dict[str, Any], Places]:
    """The mapping in `text`; `origin` is what positions are told in (a file's path)."""
    try:
        tree = _yaml().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join(str(error.problem or error.context).split())
        raise UserError(f"{origin}{line}: not valid YAML: {problem}") from None
    except YAMLError as error:
        raise UserError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, CommentedMap):
        raise UserError(f"{origin}:1: expected a mapping (key: value lines), found {_kind(tree)}")
    places: Places = {(): f"{origin}:1"}
    return _plain(tree, (), origin, places), places


def dump_yaml(data: Any) -> str:
    """Plain data as block-style YAML."""
    stream = io.StringIO()
    yaml = YAML(typ="rt")
    yaml.width = 120
    yaml.dump(data, stream)
    return stream.getvalue()


def lay_over(data: dict[str, Any], places: Places, overrides: Iterable[str]) -> None:
    """Applies overrides such as ``training.epochs=5`` or ``method=adalora`` in place; later ones win.

    Setting a field of a short form (``method.r=16`` over ``method: lora``) turns that into its long form first.
    """
    for override in overrides:
        dotted, equals, value = override.partition("=")
        key = tuple(dotted.strip().split("."))
        if not equals or not all(key):
            raise UserError(f"{COMMAND_LINE}: {override!r}: an override is written key=value, e.g. training.epochs=5")
        parent = data
        for depth, part in enumerate(key[:-1], 1):
            below = parent.get(part) if depth > 1 else long_form(part, parent.get(part))
            if below is None:
                below = {}
                places[key[:depth]] = COMMAND_LINE
            elif not isinstance(below, dict):
                raise UserError(f"{COMMAND_LINE}: {override!r}: {'.'.join(key[:depth])} has no keys below it")
            parent[part] = below
            parent = below
        parent[key[-1]] = _override_value(override, value)
        for replaced in [place for place in places if place[: len(key)] == key]:
            del places[replaced]
        places[key] = COMMAND_LINE


def place_of(places: Places, key: Key) -> str:
    """Where `key`, or the nearest key above it, was written; the empty string when nowhere."""
    for length in range(len(key), -1, -1):
        if (place := places.get(key[:length])) is not None:
            return place
    return ""


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.Resolver = CoreSchema
    return yaml


def _override_value(override: str, value: str) -> Any:
    try:
        return _plain(_yaml().load(value), (), COMMAND_LINE, {})
    except YAMLError:
        raise UserError(f"{COMMAND_LINE}: {override!r}: the value is not valid YAML") from None


def _plain(node: Any, key: Key, origin: str, places: Places) -> Any:
    """Ruamel's annotated containers and scalars as plain Python, noting the line of every key on the way."""
    if getattr(node, "tag", None) is not None and node.tag.value is not None:
        raise UserError(f"{place_of(places, key) or origin}: a YAML tag ({node.tag.value}), which recipes do not have")
    if isinstance(node, CommentedMap):
        for name in node:
            if name in (node.lc.data or ()):  # a merged key (<<) has no line of its own
                places[(*key, str(name))] = f"{origin}:{node.lc.key(name)[0] + 1}"
        return {str(name): _plain(value, (*key, str(name)), origin, places) for name, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            places[(*key, index)] = f"{origin}:{node.lc.item(index)[0] + 1}"
        return [_plain(value, (*key, index), origin, places) for index, value in enumerate(node)]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _kind(node: Any) -> str:
    if node is None:
        return "nothing"
    return "a list" if isinstance(node, CommentedSeq) else f"{node!r}"
