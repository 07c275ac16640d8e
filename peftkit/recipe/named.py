"""Recipes and suites found by path, by the name they ship under, or in another package: ``package:name``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib.resources import files
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
        raise UserError(f"{name}: no such file{_hint(path.stem, shipped(kind))}")
    package, colon, wanted = name.rpartition(":")
    there = dict(_walk(_shelf(package, kind) if colon else _own_shelf(kind)))
    if wanted not in there:
        raise UserError(f"no {kind.removesuffix('s')} named {name!r}{_hint(wanted, there)}")
    return there[wanted]


def shipped(kind: Kind = "recipes") -> dict[str, Path]:
    """Every shipped recipe or suite by name (``folder/name`` for those in folders)."""
    return dict(sorted(_walk(_own_shelf(kind))))


def _own_shelf(kind: Kind) -> Path:
    package = Path(str(files("peftkit")))
    in_wheel = package / "shipped" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / CHECKOUT[kind]


def _shelf(package: str, kind: Kind) -> Path:
    if package == "peftkit":
        return _own_shelf(kind)
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{package}: no such Python package is installed (recipes elsewhere are named package:name)")
    return Path(spec.submodule_search_locations[0]) / kind


def _walk(shelf: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(shelf.rglob("*.yaml")):
        yield path.relative_to(shelf).with_suffix("").as_posix(), path


def _hint(name: str, there: Collection[str]) -> str:
    return f"{suggest(name, there)} (there are: {', '.join(there) or 'none'}; or give a file's path)"
