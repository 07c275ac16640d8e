"""What ships: the recipes commands, and the arguments that all commands share."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

SCHEMA = "recipe.schema.json"
recipes = typer.Typer(help="The recipes that ship with peftkit.", no_args_is_help=True)

RecipeName = Annotated[str, typer.Argument(help="A recipe's path, shipped name, or package:name.", metavar="RECIPE")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings to change, e.g. training.epochs=5 method=adalora.", metavar="KEY=VALUE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def print_json(value: Any) -> None:
    """Prints a result for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def lines_of_input() -> list[str]:
    """Standard input, line by line. Raises UserError where it is not UTF-8."""
    from peftkit.errors import UserError

    lines: list[str] = []
    try:
        for line in sys.stdin:
            line.encode()  # bytes that are no text may have been let through as surrogates
            lines.append(line.rstrip("\n"))
    except UnicodeError:
        raise UserError(f"standard input, line {len(lines) + 1}: not UTF-8 text") from None
    return lines


@recipes.command("list")
def list_recipes(as_json: AsJson = False) -> None:
    """Names and places of the shipped recipes and suites."""
    from peftkit.recipe import shipped

    found = {kind: {name: str(path) for name, path in shipped(kind).items()} for kind in ("recipes", "suites")}
    if as_json:
        print_json(found)
        return
    for kind, entries in found.items():
        print(kind)
        for name, path in entries.items():
            print(f"  {name:32} {path}")


@recipes.command("show")
def show_recipe(recipe: RecipeName, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print a recipe, overrides laid over it."""
    from peftkit.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    if as_json:
        print_json({"hash": loaded.hash, "recipe": loaded.model_dump(mode="json")})
    else:
        print(loaded.to_yaml(), end="")


@recipes.command("copy")
def copy_recipe(
    recipe: RecipeName,
    target: Annotated[Path | None, typer.Argument(help="Where to; NAME.yaml here by default.")] = None,
) -> None:
    """Copy a recipe's file to start your own from, and beside it the schema that its first line tells editors."""
    from peftkit.errors import UserError
    from peftkit.recipe import find, schema
    from peftkit.writing import whole_file

    source = find(recipe)
    target = target or Path(source.name)
    if target.exists():
        raise UserError(f"{target}: is already there")
    beside = target.parent / SCHEMA
    text = re.sub(r"^(# yaml-language-server: \$schema=).*", rf"\g<1>{SCHEMA}", source.read_text(encoding="utf-8"))
    try:
        if not beside.exists():
            with whole_file(beside) as temporary:
                temporary.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
        with whole_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from None
    print(target)
