"""peftkit: recipes for parameter-efficient fine-tuning, and benchmarks that set methods side by side.

Public names load on first use: ``import peftkit`` loads neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from peftkit.plugin import register_with_peft

if TYPE_CHECKING:
    from peftkit.errors import OutOfMemory, PeftkitError, UserError
    from peftkit.pipeline import run
    from peftkit.recipe import Recipe, load_recipe
    from peftkit.record import Record
    from peftkit.reports import report
    from peftkit.suites import bench
    from peftkit.trained import load

__version__ = "0.1.0"

_HOMES = {
    "bench": "peftkit.suites",
    "OutOfMemory": "peftkit.errors",
    "PeftkitError": "peftkit.errors",
    "UserError": "peftkit.errors",
    "run": "peftkit.pipeline",
    "Recipe": "peftkit.recipe",
    "load_recipe": "peftkit.recipe",
    "Record": "peftkit.record",
    "report": "peftkit.reports",
    "load": "peftkit.trained",
}
__all__ = [
    "OutOfMemory",
    "PeftkitError",
    "Recipe",
    "Record",
    "UserError",
    "bench",
    "load",
    "load_recipe",
    "report",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


register_with_peft()
