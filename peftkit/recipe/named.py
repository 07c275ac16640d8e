"""Recipes and suites found by path, by the name they ship under, or in another package: ``package:name``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from peftkit.errors import UserError, suggest

Kind = Literal["recipes", "suites"]
CHECKOUT = {"recipes": Path("recipes"), "suites": Path("benchmarks") / "suites"}
"""Where the shipped files stand in a checkout, beside the package."""


def find(name: str, kind: Kind = "recipes") -> Path:
    """The file that `name` means: a path if one is there, else ``package:name``, else a shipped file."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if path.is_file():
            return path
        raise UserError(f"{name}: no such file{_hint(path.stem, kind)}")
    package, colon, inner = name.partition(":")
    shelf = _shelf(package, kind) if colon else _own_shelf(kind)
    wanted = inner if colon else name
    for found_name, found in _walk(shelf):
        if found_name == wanted:
            return found
    raise UserError(f"no {kind.removesuffix('s')} named {name!r}{_hint(wanted, kind)}")


def shipped(kind: Kind = "recipes") -> dict[str, Path]:
    """Every shipped recipe or suite by name (``folder/name`` for those in folders)."""
    return dict(sorted(_walk(_own_shelf(kind))))


def _own_shelf(kind: Kind) -> Path:
    package = Path(str(files("peftkit")))
    in_wheel = package / "shipped" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / CHECKOUT[kind]


def _shelf(package: str, kind: Kind) -> Path:
    if not package.isidentifier() or find_spec(package) is None:
        raise UserError(f"{package}: no such Python package is installed (recipes elsewhere are named package:name)")
    root: Traversable = files(package)
    return Path(str(root)) / kind


def _walk(shelf: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(shelf.rglob("*.yaml")):
        yield path.relative_to(shelf).with_suffix("").as_posix(), path


def _hint(name: str, kind: Kind) -> str:
    names = shipped(kind)
    return f"{suggest(name, names)} (shipped: {', '.join(names)}; or give a file's path)"
