"""What a model computes for a batch, to set beside what another computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftkit.contracts import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from torch.nn import Module


def logits_of(model: Module, batch: Batch, accelerator: Accelerator) -> Tensor:
    """All that the model's outputs call logits, one after the other, in evaluation mode, on the CPU in float32."""
    import torch

    model.eval()
    with torch.inference_mode(), accelerator.autocast():
        outputs: Any = model(**batch.inputs)
        logits = [value.float().flatten().cpu() for name, value in outputs.items() if name.endswith("logits")]
    return torch.cat(logits)
