"""EVA: LoRA's A begins with the directions in which a layer's inputs vary most (Paischer et al. 2024,
arXiv:2410.07170)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from peftkit.adapters.attaching import one_line
from peftkit.contracts import IGNORED, Batch, Settings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = 500
"""Batches after which directions that still move will not settle."""


class EvaSettings(Settings):
    """Fields of peft's EvaConfig, under its names."""

    rho: Annotated[float, Field(ge=1)] = 2.0
    """A layer gets at most rho·r directions; 1 leaves every layer r."""
    tau: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Cosine of a direction in two batches running above which it has settled."""
    use_label_mask: bool = True
    """Look only at tokens that have a label, where tokens do."""
    whiten: bool = False
    """Divide each direction by the root of its singular value."""
    adjust_scaling_factors: bool = True
    """Keep alpha/r of a layer whose rank has changed."""


class _Stream:
    """Batches over and over, and an end to it: peft goes on until every direction has settled."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for number in range(PATIENCE):
            yield self.batches[number % len(self.batches)]
        raise UserError(
            f"eva: the directions of some layer's inputs have not settled after {PATIENCE} batches; "
            "raise training.batch_size, or lower r or eva_config.tau",
            ("method", "init_lora_weights"),
        )


def start_from_inputs(model: Any, batches: Sequence[Batch], most: int) -> None:
    """Sets A of each layer to the principal directions of its inputs (section 3.1 of the paper), and gives the ranks of
    all layers to the directions that explain most of their layer's variance (section 3.2).

    `most` is the largest rank that a layer may get. Ranks and the layers that are left go into the adapter's config, so
    that a saved adapter has the form it was trained in. B stays zero: the model computes what the base computes.

    Raises:
        UserError: a layer sees fewer inputs in a batch than it may get directions, or they do not settle.
    """
    from peft import initialize_lora_eva_weights

    def inputs_to(layer_input: Any, mask: Tensor | None, name: str) -> Tensor:
        seen = _seen(layer_input, mask)
        if len(seen) < most:
            raise UserError(
                f"eva: {name} sees {len(seen)} inputs in a batch, fewer than the {most} directions it may get "
                "(r·eva_config.rho); raise training.batch_size, or lower r, or leave the layer out of target_modules",
                ("method", "init_lora_weights"),
            )
        return seen

    try:
        initialize_lora_eva_weights(
            model,
            _Stream(batches),
            forward_fn=lambda model, batch: model(**batch.inputs),
            prepare_model_inputs_fn=_mask,
            prepare_layer_inputs_fn=inputs_to,
            gather_distributed_inputs=False,  # every process sees the same batches
            show_progress_bar=False,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(f"lora cannot begin from eva here: {one_line(error)}", ("method",)) from error
    left = {name.removeprefix("base_model.model.") for name, module in model.named_modules() if _is_adapted(module)}
    tuner = model.base_model
    tuner.targeted_module_names = [name for name in tuner.targeted_module_names if name in left]


def _is_adapted(module: Any) -> bool:
    from peft.tuners.lora import LoraLayer

    return isinstance(module, LoraLayer)


def _mask(batch: Batch, config: Any) -> Tensor | None:
    """Which positions ``(rows, tokens)`` to look at, True for yes; None for all, as where inputs are no tokens."""
    mask = batch.inputs.get("attention_mask")
    if mask is None or mask.ndim != 2:
        return None
    looked_at: Tensor = mask.bool()
    labels = batch.labels
    labels_tokens = labels is not None and labels.shape == mask.shape and "decoder_input_ids" not in batch.inputs
    if config.eva_config.use_label_mask and labels is not None and labels_tokens:
        looked_at = looked_at & (labels != IGNORED)
    return looked_at


def _seen(layer_input: Any, mask: Tensor | None) -> Tensor:
    """The inputs to look at, ``(inputs, features)``; all where a layer's are not one to a position of the mask."""
    inputs: Tensor = layer_input[0] if isinstance(layer_input, tuple | list) else layer_input
    if mask is not None and inputs.ndim == 3 and inputs.shape[:2] == mask.shape:
        return inputs[mask]
    return inputs.reshape(-1, inputs.shape[-1]).contiguous()  # peft makes a view of it to compare it by
