"""Writes the pages that follow the code and the committed records; with ``--check`` says whether they are stale."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from choosing import choosing_parts
from compared import comparison_table, ended
from described import described
from measured import metrics_table, runs_table
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from peftkit.capabilities import Matrix, capabilities
from peftkit.contracts import Method, Task
from peftkit.data.files import FORMATS
from peftkit.data.sources import BUILTIN
from peftkit.methods import METHODS
from peftkit.mixtures import MixtureSettings, refusals
from peftkit.mixtures.pairs import TRIED
from peftkit.recipe import Data, Model, Quantization, Recipe, Training, schema
from peftkit.recipe.forms import MAIN_KEY, QUANTIZATIONS
from peftkit.suites import Suite
from peftkit.tasks import TASKS

DOCS = Path(__file__).parent
BENCHMARKS = DOCS.parent / "benchmarks"
CHOICES: dict[str, Any] = {"method": METHODS, "task": TASKS}
GROUPS: dict[str, type[BaseModel]] = {"model": Model, "quantization": Quantization, "data": Data, "training": Training}
NO_DESCRIPTION = "–"
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
TYPES = {"string": "text", "integer": "whole number", "boolean": "`true` or `false`"}


def main() -> int:
    """Writes what is stale, or lists it (``--check``; exit code 1)."""
    tables = {"metrics": metrics_table(), "runs": runs_table()}
    pages = {
        DOCS / "recipes.md": page("recipes", recipes_parts()),
        DOCS / "tasks.md": page("tasks", tables),
        DOCS / "methods.md": page("methods", choosing_parts() | {"capabilities": matrix()}),
        BENCHMARKS / "README.md": page("README", {"comparison": comparison_table(), "ended": ended()}, BENCHMARKS),
        DOCS / "recipe.schema.json": json.dumps(schema(), indent=2) + "\n",
    }
    stale = [path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.name} is stale: run python docs/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
        print(path)
    return 0


def matrix() -> str:
    """The capability table, as ``peftkit methods`` prints it."""
    return Matrix.overview(capabilities()).markdown()


def recipes_parts() -> dict[str, str]:
    """What the code says of recipes."""
    return {
        "keys": table(Recipe),
        "short_forms": "\n".join(short_forms()),
        "groups": "\n\n".join(f"### `{name}`\n\n{about(group)}\n\n{table(group)}" for name, group in GROUPS.items()),
        "tried": spelled(sorted(TRIED)),
        "apart": spelled(f"[{one}, {other}]" for one, other in apart()),
        "methods": "\n\n".join(method_section(name, method) for name, method in METHODS.items()),
        "tasks": "\n\n".join(task_section(name, task) for name, task in TASKS.items()),
        "suite": f"{about(Suite)}\n\n{table(Suite)}",
        "formats": spelled(FORMATS),
        "builtin": spelled(f"builtin:{name}" for name in BUILTIN),
    }


def apart() -> Iterator[tuple[str, str]]:
    """Pairs of tried methods that do not go together."""
    needed = {"trainable-tokens": {"token_indices": [0]}}
    settings = {name: METHODS[name].settings_class(name=name, **needed.get(name, {})) for name in sorted(TRIED)}
    for one, other in combinations(settings, 2):
        if any(True for _ in refusals(MixtureSettings(parts=[settings[one], settings[other]]))):
            yield one, other


def page(name: str, parts: dict[str, str], folder: Path = DOCS) -> str:
    """``NAME.md`` of a folder: the prose of its template around the parts that are made."""
    text = (folder / f"{name}.template.md").read_text(encoding="utf-8")
    for part, made in parts.items():
        assert f"<<{part}>>" in text, part
        text = text.replace(f"<<{part}>>", made)
    return text


def table(settings: type[BaseModel]) -> str:
    """A line for every key of `settings`: type, default, docstring; nothing where only the name is one."""
    properties = settings.model_json_schema()["properties"]
    lines = []
    for name, field in settings.model_fields.items():
        if "const" in properties[name]:
            continue  # the name that the entry is found by: its heading says it
        kind = f"one of {spelled(CHOICES[name])}" if name in CHOICES else type_of(properties[name])
        kind += ", or a list of two" if name == "method" else ""
        default = default_of(field.get_default(call_default_factory=True))
        meaning = markdown(field.description or "") or said_by_its_class(name) or NO_DESCRIPTION
        lines.append(f"| `{name}` | {kind} | {default} | {meaning} |")
    return "\n".join(["| key | type | default | meaning |", "| --- | --- | --- | --- |", *lines]) if lines else ""


def type_of(part: dict[str, Any]) -> str:
    """What a value may be, from its JSON schema, in words."""
    if "anyOf" in part:
        kinds = (type_of(kind) for kind in part["anyOf"] if kind.get("type") != "null")
        return ", or ".join(dict.fromkeys(kinds))
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if part.get("type") == "array":
        return f"list of {type_of(part['items'])}".replace("number", "numbers")
    if part.get("type") == "object" and isinstance(part.get("additionalProperties"), dict):
        return f"keys to {type_of(part['additionalProperties'])}".replace("number", "numbers")
    if "$ref" in part or part.get("type") == "object":
        return "keys below"
    bounds = [f"{sign} {part[key]:.10g}" for key, sign in BOUNDS.items() if key in part]
    name = TYPES.get(part.get("type", ""), part.get("type", "anything"))
    return f"{name} {' and '.join(bounds)}".strip()


def default_of(value: Any) -> str:
    """A default as a recipe spells it."""
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "–"
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`" if value != "" else "empty"


def said_by_its_class(name: str) -> str:
    """The first sentence of the class behind a group's key; nothing for a plain key."""
    classes: dict[str, type] = {**GROUPS, "method": Method, "task": Task}
    return f"{about(classes[name]).partition('. ')[0].rstrip('.')}." if name in classes else ""


def about(thing: type) -> str:
    """A class's docstring as Markdown."""
    return markdown(thing.__doc__ or "")


def markdown(text: str) -> str:
    """A docstring's paragraphs, each on one line, with Markdown's single backticks."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")).replace("``", "`")


def short_forms() -> Iterator[str]:
    """A line for every short form."""
    yield from ("| short form | long form |", "| --- | --- |")
    for group, key in MAIN_KEY.items():
        yield f"| `{group}: VALUE` | `{group}: {{{key}: VALUE}}` |"
    for name, keys in QUANTIZATIONS.items():
        long = "no quantization" if keys is None else "`quantization: {" + f"bits: {keys['bits']}" + "}`"
        yield f"| `quantization: {name}` | {long} |"


def method_section(name: str, method: type[Method]) -> str:
    """A method: its idea, what it goes with, its settings."""
    bases = "any base" if method.quantizable else "unquantized bases only"
    checkpoints = "" if method.checkpointable else "; not with `gradient_checkpointing`"
    facts = f"Default learning rate `{method.learning_rate:g}`; {bases}{checkpoints}."
    settings, told = method.settings_class, described(method)
    idea = f"{told.idea} [When to use it](methods.md#{name})."
    return "\n\n".join(filter(None, [f"### `{name}`", idea, f"{facts} {about(settings)}", table(settings)]))


def task_section(name: str, task: type[Task]) -> str:
    """A task: what is learnt, its metrics, its settings."""
    settings = task.settings_class
    bound = task(settings(**{field: field for field, info in settings.model_fields.items() if info.is_required()}))
    facts = f"Metrics: {spelled(bound.metrics)}; the first chooses the best checkpoint. Model: `{bound.auto_class}`."
    return "\n\n".join(filter(None, [f"### `{name}`", about(task), f"{facts} {about(settings)}", table(settings)]))


def spelled(names: Any) -> str:
    """Names in backticks, with commas."""
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.exit(main())
