"""The best weights so far, on disk: safetensors and JSON, whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Hook
from peftkit.errors import UserError

if TYPE_CHECKING:
    from torch.nn import Module

WEIGHTS = "trainable.safetensors"
STATE = "state.json"


def save_checkpoint(model: Module, hooks: Sequence[Hook], folder: Path, name: str, state: dict[str, Any]) -> Path:
    """Writes what is trained into ``folder/name`` and removes older checkpoints only when that is safely done.

    Raises:
        UserError: the disk is full or not writable; the previous checkpoint is untouched.
    """
    from safetensors.torch import save_file

    final, unfinished = folder / name, folder / f".{name}.unfinished"
    tensors = {key: p.detach().cpu().contiguous() for key, p in model.named_parameters() if p.requires_grad}
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_file(tensors, unfinished / WEIGHTS)
        (unfinished / STATE).write_text(json.dumps({**state, "hooks": [hook.state() for hook in hooks]}))
        for file in unfinished.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        shutil.rmtree(final, ignore_errors=True)
        unfinished.replace(final)
    except Exception as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{final}: checkpoint not written ({reason}); an earlier one, if any, is intact") from error
        raise
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)
    return final


def load_checkpoint(model: Module, hooks: Sequence[Hook], checkpoint: Path) -> dict[str, Any]:
    """Puts a checkpoint's weights back in place; returns its state."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(checkpoint / WEIGHTS)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[key])
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    for hook, kept in zip(hooks, state["hooks"], strict=True):
        hook.load_state(kept)
    return state
