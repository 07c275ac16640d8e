"""Makes our own tuners known to peft, whichever of the two is imported first, without importing peft ourselves."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def register_with_peft() -> None:
    """Registers at once where peft is loaded, else right after it will be: ``PeftModel.from_pretrained`` then knows a
    bottleneck adapter in any program that imports peftkit."""
    if "peft" in sys.modules:
        importlib.import_module("peftkit.tuners")
    elif not any(isinstance(finder, AfterPeft) for finder in sys.meta_path):
        sys.meta_path.insert(0, AfterPeft())


class AfterPeft(importlib.abc.MetaPathFinder):
    """Finds peft as Python would, and has our tuners imported when it is loaded; then steps aside.

    Being asked for the spec alone, as transformers does to see whether peft is installed, changes nothing.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "peft":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = ThenTuners(spec.loader)
        return spec


class ThenTuners(importlib.abc.Loader):
    """Loads peft by its own loader, then our tuners."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, AfterPeft)]
        importlib.import_module("peftkit.tuners")
