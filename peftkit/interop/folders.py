"""Folders of runs: what adapters lie in one, and new ones that are written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peftkit.errors import UserError
from peftkit.mixtures import PARTS_FOLDER
from peftkit.trained import ADAPTER_CONFIG


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place when the block ends well, and is removed when it does not.

    Raises:
        UserError: `target` holds something already, or cannot be written.
    """
    from safetensors import SafetensorError

    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target}: is there already and not an empty folder; choose another output folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        inside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from None
    try:
        yield inside
        inside.chmod(0o755)
        for file in inside.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)  # safetensors writes for the owner alone
        inside.replace(target)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{target}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def folder_of_run(folder: str | Path) -> Path:
    """`folder` as a path. Raises UserError when there is none."""
    found = Path(folder)
    if not found.is_dir():
        raise UserError(f"{found}: no such folder")
    return found


def adapter_configs(folder: Path) -> list[Path]:
    """Configurations of the adapters in `folder`: of its one, or of a mixture's parts in the order of loading."""
    own = folder / ADAPTER_CONFIG
    return [own] if own.is_file() else sorted((folder / PARTS_FOLDER).glob(f"*/{ADAPTER_CONFIG}"))
