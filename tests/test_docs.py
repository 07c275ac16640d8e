"""The docs are true: generated pages are fresh, links lead somewhere, recipes load, marked snippets run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peftkit.probes import PROBES
from peftkit.recipe import load_recipe
from peftkit.record import Record
from peftkit.reports.columns import COLUMNS
from peftkit.suites import load_suite
from tests.test_floors import FLOORS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNABLE = "python run"
"""The info string of snippets that are executed."""
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
FORBIDDEN = ("/work", "shared/", "/root", "/home/")


def blocks(info: str) -> Iterator[tuple[Path, str]]:
    """Page and text of every fenced block with that info string."""
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if block["info"].strip() == info:
                yield page, block["text"]


def name_of(value: Any) -> str | None:
    return value.name if isinstance(value, Path) else None


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_place_on_somebodys_machine(page: Path) -> None:
    assert not [word for word in FORBIDDEN if word in page.read_text(encoding="utf-8")]


def test_every_recipe_and_suite_in_the_docs_loads(tmp_path: Path) -> None:
    found = {"recipe": 0, "suite": 0}
    for number, (_, text) in enumerate(blocks("yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, encoding="utf-8")
        if re.search("^vary:", text, re.MULTILINE):
            assert load_suite(file)
            found["suite"] += 1
        elif all(re.search(f"^{key}:", text, re.MULTILINE) for key in ("model", "method", "task", "data")):
            assert load_recipe(file).hash
            found["recipe"] += 1
    assert found["recipe"] >= 4 and found["suite"] >= 4  # two of each in recipes.md and in its template


def test_runnable_snippets_run() -> None:
    """In order, a page's snippets in one namespace; a module of its own, as a file would be."""
    pages = {page: [text for other, text in blocks(RUNNABLE) if other == page] for page, _ in blocks(RUNNABLE)}
    assert [page.name for page in pages] == ["extending.md"]
    for page, snippets in pages.items():
        module = ModuleType("docs_snippets")
        sys.modules[module.__name__] = module  # where pydantic looks the annotations' names up
        try:
            for text in snippets:
                exec(compile(text, str(page), "exec"), module.__dict__)
        finally:
            del sys.modules[module.__name__]
        assert len(snippets) >= 5


@pytest.mark.parametrize("snippet", [text for _, text in blocks("python")])
def test_other_snippets_are_python(snippet: str) -> None:
    if not snippet.startswith(" "):  # a line out of the middle of something
        compile(snippet, "docs", "exec")


def test_the_floors_in_the_docs_are_those_of_the_test() -> None:
    floors = "\n".join(f"{height:2}  {', '.join(names)}" for height, names in enumerate(FLOORS))
    assert f"```\n{floors}\n```" in (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def test_every_cost_and_every_field_of_the_record_is_explained() -> None:
    told = (ROOT / "docs" / "measuring.md").read_text(encoding="utf-8")
    sources = "".join(Path(sys.modules[probe.__module__].__file__ or "").read_text() for probe in PROBES.values())
    costs = set(re.findall(r'^ +"(\w+)": ', sources, re.MULTILINE)) | set(COLUMNS)
    assert len(costs) > 12
    assert not [name for name in (*costs, *Record.model_fields) if f"`{name}`" not in told]


def test_the_readmes_table_is_the_report_of_the_committed_records() -> None:
    from peftkit.reports import report

    text = (ROOT / "README.md").read_text()
    table = text.partition("<!-- table: benchmarks/results/demo -->\n")[2].partition("<!-- end of table -->")[0]
    assert table.strip() == report(ROOT / "benchmarks" / "results" / "demo", "md").strip()
