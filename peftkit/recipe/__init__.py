"""Recipes: written in YAML or Python, checked in milliseconds, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peftkit.recipe.bases import CARRIED, architecture, locate
from peftkit.recipe.capable import capability_objections
from peftkit.recipe.checking import check
from peftkit.recipe.groups import Data, InvalidRows, Model, Quantization, Training
from peftkit.recipe.named import find, shipped
from peftkit.recipe.reading import lay_over, read_yaml
from peftkit.recipe.schema import schema
from peftkit.recipe.spec import Recipe

__all__ = [
    "CARRIED",
    "Data",
    "InvalidRows",
    "Model",
    "Quantization",
    "Recipe",
    "Training",
    "architecture",
    "capability_objections",
    "check",
    "find",
    "load_recipe",
    "locate",
    "schema",
    "shipped",
]


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by path, shipped name or ``package:name``, with ``key=value`` overrides laid over it.

    Raises:
        UserError: it is not there, cannot be read, or is wrong; every mistake on a line of its own, with file:line.
    """
    data, places = read_yaml(find(str(source)))
    lay_over(data, places, overrides)
    return check(data, places)
