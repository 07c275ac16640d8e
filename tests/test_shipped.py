"""What ships is right: every recipe and suite, and every command that the documents tell people to type."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import peftkit
from peftkit.recipe import Recipe, check, load_recipe, schema, shipped
from peftkit.recipe.reading import parse_yaml
from peftkit.suites import load_suite

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").rglob("*.y*ml"))
SUITES = sorted((ROOT / "benchmarks" / "suites").rglob("*.y*ml"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def named(path: Path) -> str:
    """A file's place in the checkout."""
    return str(path.relative_to(ROOT))


def test_every_file_is_found_by_name() -> None:
    assert sorted(shipped("recipes").values()) == RECIPES != []
    assert sorted(shipped("suites").values()) == SUITES != []


@pytest.mark.parametrize("path", RECIPES, ids=named)
class TestRecipe:
    """Every shipped recipe."""

    def test_it_is_right_and_reads_back_as_it_is_written(self, path: Path) -> None:
        recipe = load_recipe(path)
        again = check(*parse_yaml(recipe.to_yaml(), "again"))
        assert again == recipe and again.hash == recipe.hash

    def test_its_first_line_points_editors_at_the_schema(self, path: Path) -> None:
        found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", path.read_text().splitlines()[0])
        assert found and (path.parent / found[1]).resolve() == ROOT / "docs" / "recipe.schema.json"

    def test_it_says_what_it_is_for(self, path: Path) -> None:
        assert path.read_text().splitlines()[1].startswith("# ")


def test_the_schema_for_editors_is_that_of_the_code() -> None:
    assert json.loads((ROOT / "docs" / "recipe.schema.json").read_text()) == schema()


@pytest.mark.parametrize("path", SUITES, ids=named)
def test_every_suite_expands_into_cells(path: Path) -> None:
    cells = load_suite(path)
    assert cells and len({cell.name for cell in cells}) == len(cells)
    assert load_suite(path.relative_to(ROOT / "benchmarks" / "suites").with_suffix("").as_posix()) == cells


def test_the_demo_sets_nine_kinds_side_by_side() -> None:
    rows = set()
    for cell in load_suite("demo"):
        method = cell.recipe.method.model_dump()
        rows.add((method["name"], method.get("variant"), cell.recipe.quantization and cell.recipe.quantization.bits))
    assert rows >= {
        ("full", None, None),
        ("head", None, None),
        ("lora", None, None),
        ("adalora", None, None),
        ("bottleneck", "houlsby", None),
        ("bottleneck", "pfeiffer", None),
        ("prefix-tuning", None, None),
        ("lora", None, 8),
        ("lora", None, 4),
    }


def test_the_few_commands_are_there_at_the_desk_and_in_ci() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets >= {"demo", "test", "check", "bench"}
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    made = [line for line in run.read_text().splitlines() if line.startswith("make ")]
    assert made[:2] == ["make check", "make test"]
    assert {line.split()[1] for line in made} <= targets


def blocks(path: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a document that are in one of `languages`."""
    for language, text in re.findall(r"^ *```(\w+)[^\n]*\n(.*?)^ *```", path.read_text(), re.MULTILINE | re.DOTALL):
        if language in languages:
            yield dedent(text)


def commands(path: Path) -> Iterator[list[str]]:
    """The command lines of a document, comments, redirections and pipes left out."""
    for block in blocks(path, "sh", "bash", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            end = next((number for number, word in enumerate(words) if word in (">", ">>", "<", "|", "&&", ";")), None)
            if words:
                yield words[:end]


def test_the_readme_begins_with_the_two_commands() -> None:
    assert list(commands(ROOT / "README.md"))[:2] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_command_in_a_document_exists(path: Path) -> None:
    from typer.main import get_command

    from peftkit.cli.commands import app

    for words in commands(path):
        words = words[words.index("peftkit") :] if "peftkit" in words else words
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
        if words[0] != "peftkit":
            continue
        command: Any = get_command(app)
        with command.make_context("peftkit", words[1:]) as context:
            while hasattr(command, "resolve_command"):
                _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
                assert command is not None, words
                context = command.make_context(command.name, list(rest), parent=context)
        given = context.params
        if given.get("recipe") in shipped("recipes"):
            load_recipe(given["recipe"], given.get("overrides") or ())
        if given.get("suite") in shipped("suites"):
            load_suite(given["suite"], given.get("overrides") or ())


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_recipe_in_a_document_is_right(path: Path) -> None:
    for block in blocks(path, "yaml"):
        data, places = parse_yaml(block, named(path))
        if data.keys() >= {"model", "method", "task", "data"}:
            assert isinstance(check(data, places), Recipe)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_what_a_document_calls_is_public(path: Path) -> None:
    for block in blocks(path, "python"):
        assert set(re.findall(r"\bpeftkit\.(\w+)\(", block)) <= set(peftkit.__all__)


def test_public_names_stay_what_they_are() -> None:
    """No folder is called like a public name: it would take its place once it is imported."""
    for name in peftkit.__all__:
        assert getattr(peftkit, name) is getattr(peftkit, name) and callable(getattr(peftkit, name))
    assert not {path.stem for path in (ROOT / "peftkit").iterdir()} & set(peftkit.__all__)
