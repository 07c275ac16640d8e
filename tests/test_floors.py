"""The layout holds: imports point downwards only, tables are complete, and torch stays out of what need not load it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "peftkit"
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("archives", "contracts", "plugin", "writing"),
    ("tuners", "metrics"),
    ("adapters", "capabilities", "examples", "probes"),
    ("methods", "tasks"),
    ("mixtures",),
    ("recipe",),
    ("record", "model", "data"),
    ("evaluate", "reading", "training"),
    ("journal", "output"),
    ("pipeline", "trained", "rehearsal"),
    ("interop", "reports", "suites"),
    ("proving",),
    ("cli",),
    ("__main__",),
)
"""From the ground up; a name is a module or a folder of `peftkit`. Names of one floor do not import each other."""
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
OPEN_ENDED = {"peftkit.metrics.evaluated"}
"""Makes metrics by name, of which no table can hold all."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The folder or module right below `peftkit` that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, only_at_import: bool = False) -> set[str]:
    """Modules of peftkit that a file imports, those for the type checker left out."""
    tree = ast.parse(path.read_text())
    checked = {id(n) for node in ast.walk(tree) if is_type_checking(node) for n in ast.walk(node)}
    nodes = tree.body if only_at_import else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if id(node) in checked:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    own = room(path)
    if own == "__init__":
        return  # the public names: loaded on first use
    for module in imports(path):
        if module.startswith("peftkit."):
            other = module.split(".")[1]
            assert other == own or HEIGHT[other] < HEIGHT[own], f"{own} (floor {HEIGHT[own]}) imports {module}"


def test_every_module_has_a_floor() -> None:
    assert {room(path) for path in MODULES} - {"__init__"} == set(HEIGHT)


@pytest.mark.parametrize("folder", ["methods", "tasks"])
def test_single_methods_and_tasks_do_not_import_each_other(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        if path != PACKAGE / folder / "__init__.py":
            own = f"peftkit.{folder}.{path.relative_to(PACKAGE / folder).parts[0].removesuffix('.py')}"
            inside = {module for module in imports(path) if module.startswith(f"peftkit.{folder}")}
            assert all(f"{module}.".startswith(f"{own}.") for module in inside), path


@pytest.mark.parametrize(
    "folder, table", [("methods", "METHODS"), ("tasks", "TASKS"), ("probes", "PROBES"), ("metrics", "METRICS")]
)
def test_every_file_stands_in_its_table(folder: str, table: str) -> None:
    entries = getattr(importlib.import_module(f"peftkit.{folder}"), table).values()
    homes = {getattr(entry, "compute", entry).__module__ for entry in entries}
    there = [
        path.stem for path in (PACKAGE / folder).glob("*") if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    files = {f"peftkit.{folder}.{stem}" for stem in there if stem != "__init__"}
    assert files - OPEN_ENDED == homes


def test_no_circle_of_imports() -> None:
    edges = {path: imports(path, only_at_import=True) for path in MODULES}
    names = {
        ".".join(("peftkit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in MODULES
    }
    done: set[Path] = set()

    def visit(path: Path, above: tuple[Path, ...]) -> None:
        assert path not in above, " → ".join(str(p.relative_to(PACKAGE)) for p in (*above, path))
        if path in done:
            return
        for module in edges[path]:
            if module in names and names[module] != path:
                visit(names[module], (*above, path))
        done.add(path)

    for path in MODULES:
        visit(path, ())


@pytest.mark.parametrize(
    "code",
    [
        "import peftkit",
        "import peftkit.recipe; peftkit.recipe.load_recipe('stdlib-docstrings-minilm')",
        "import peftkit.record",
        "import peftkit.reports",
        "import peftkit.methods, peftkit.tasks, peftkit.metrics, peftkit.probes, peftkit.contracts",
        "import sys; sys.argv = ['p', '--help']\nfrom peftkit.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
)
def test_torch_stays_out(code: str) -> None:
    heavy = "{'torch', 'transformers', 'peft', 'datasets', 'sklearn'}"
    code += f"\nimport sys\nassert not (loaded := {heavy} & set(sys.modules)), loaded"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_stay_what_they_are_when_used_again() -> None:
    """No subpackage takes the place of a function of its name."""
    import peftkit

    for _ in range(2):
        for name in peftkit.__all__:
            assert callable(getattr(peftkit, name)), name


def test_no_method_task_or_metric_is_named_in_the_loop() -> None:
    from peftkit.methods import METHODS
    from peftkit.metrics import METRICS
    from peftkit.tasks import TASKS

    files = ["training/loop.py", "evaluate.py", "pipeline.py", "journal.py", "output.py"]
    for file in files:
        strings = {n.value for n in ast.walk(ast.parse((PACKAGE / file).read_text())) if isinstance(n, ast.Constant)}
        assert not strings & {*METHODS, *TASKS, *METRICS}, file


def test_bottleneck_adapters_are_known_to_peft_whichever_is_imported_first() -> None:
    for order in ("import peftkit, peft", "import peft, peftkit"):
        code = f"{order}\nfrom peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as m\nassert 'BOTTLENECK' in m"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
