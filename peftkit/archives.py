"""Files that cells refer to, such as images: in a folder, or in a zip archive, read where it is and never unpacked."""

from __future__ import annotations

import os
import posixpath
import re
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

MEMBER = re.compile(r"(?P<archive>.+?\.zip)::(?P<member>.+)", re.IGNORECASE | re.DOTALL)
"""``/data/images.zip::cat/1.png``: a file in an archive."""


def locate(cell: Any, root: Path) -> str:
    """Where the file lies that a cell refers to, whole: ``/data/cat/1.png`` or ``/data/images.zip::cat/1.png``.

    A path is looked for in `root`, a whole path, and then in the archives that lie there; ``images.zip::cat/1.png``
    names its archive.

    Raises:
        ValueError: the cell is no path, or there is no such file; the message says which.
    """
    shown = cell if isinstance(cell, str) and 0 < len(cell) <= 200 and cell.isprintable() else f"{cell!r:.60}"
    if not isinstance(cell, str) or not cell.strip("\0 "):
        raise ValueError(f"{shown}: not the path of a file")
    try:
        if (path := root / os.path.expanduser(cell)).is_file():
            return str(path)
        if named := MEMBER.fullmatch(cell):
            return _member(root / os.path.expanduser(named["archive"]), named["member"])
        member = posixpath.normpath(cell)
        archives = [archive for archive in sorted(root.glob("*.zip")) if member in members(archive)]
        if len(archives) > 1:
            one, other = (archive.name for archive in archives[:2])
            raise ValueError(f"{shown}: in both {one} and {other}; name the archive: {one}::{shown}")
        if archives:
            return _member(archives[0], member)
    except OSError as error:
        raise ValueError(f"{shown}: cannot be read: {error.strerror or error}") from None
    raise ValueError(f"{shown}: no such file in {root} or its archives")


def read_bytes(cell: str | Mapping[str, Any], root: Path = Path("/")) -> bytes:
    """The bytes of the file that a cell refers to, as `locate` finds it.

    datasets' own cells, ``{"bytes": …, "path": …}``, may hold the file itself.

    Raises:
        ValueError: the cell is no path, or there is no such file, or it cannot be read; the message says which.
    """
    if isinstance(cell, Mapping):
        content = cell.get("bytes")
        return content if isinstance(content, bytes) else read_bytes(cell.get("path") or "", root)
    place = locate(cell, root)
    try:
        if (named := MEMBER.fullmatch(place)) and not Path(place).is_file():
            return _read_member(Path(named["archive"]), named["member"])
        return Path(place).read_bytes()
    except OSError as error:
        raise ValueError(f"{cell}: cannot be read: {error.strerror or error}") from None


def members(archive: Path) -> Mapping[str, zipfile.ZipInfo]:
    """What is in a zip archive, by path. Raises ValueError when it cannot be read."""
    return _open(archive).NameToInfo


def _member(archive: Path, member: str) -> str:
    """A file in an archive, whole. Raises ValueError when it is not there."""
    if member not in members(archive):
        raise ValueError(f"{member}: no such file in {archive}")
    return f"{archive}::{member}"


def _read_member(archive: Path, member: str) -> bytes:
    try:
        return _open(archive).read(member)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: encrypted
        raise ValueError(f"{member} in {archive} cannot be read: {error or type(error).__name__}") from None


def _open(archive: Path) -> zipfile.ZipFile:
    """The archive, opened once per process and state of the file: a forked process would move its parent's position."""
    try:
        state = archive.stat()
        return _opened(archive, os.getpid(), state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{archive}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


@lru_cache(maxsize=32)
def _opened(archive: Path, process: int, *state: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)
