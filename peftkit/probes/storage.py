"""What the trained part takes on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peftkit.contracts import Probe


class StorageProbe(Probe):
    """``adapter_bytes``: size of the safetensors files that hold what was trained (the whole model for `full`)."""

    def __init__(self) -> None:
        self.size: int | None = None

    def saved(self, folder: Path) -> None:
        self.size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))

    def costs(self) -> dict[str, Any]:
        return {"adapter_bytes": self.size}
