"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path` when the block ends well, and is removed when it does not."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as opened:
        temporary = Path(opened.name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # a temporary file is private by default; a record is not
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
