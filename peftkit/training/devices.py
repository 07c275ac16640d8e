"""The processes and devices of a run, through accelerate, held to what was promised."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftkit.errors import UserError
from peftkit.model.quiet import without_unused_kernel
from peftkit.recipe import Recipe
from peftkit.training.trackers import check_trackers

if TYPE_CHECKING:
    from accelerate import Accelerator

AUTOCAST = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def import_stack() -> None:
    """Imports the libraries that a run needs, so that their time and memory count to no other phase."""
    without_unused_kernel()
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import peft  # noqa: F401 - brings torch, transformers and bitsandbytes
    import sklearn.metrics  # noqa: F401


def make_accelerator(recipe: Recipe, project: Path) -> Accelerator:
    """accelerate's Accelerator for this recipe; trackers write below `project`.

    Raises:
        UserError: the launcher promised other processes than there are, a tracker is unknown or not installed, or the
            device has no autocast of the precision that the recipe asks for.
    """
    without_unused_kernel()
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # one process may run several recipes, each with its own precision
    training = recipe.training
    check_trackers(training.report_to)
    try:
        accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),
            mixed_precision=training.mixed_precision or AUTOCAST[recipe.model.dtype],
            log_with=list(training.report_to) or None,
            project_dir=str(project),
        )
    except (ValueError, ImportError) as error:
        key = ("training", "mixed_precision") if "precision" in str(error) else ()  # else it is the launcher's doing
        raise UserError(str(error).splitlines()[0], key) from error
    _refuse_half_on_cpu(accelerator, recipe)
    if accelerator.distributed_type not in (kinds := ("NO", "MULTI_CPU", "MULTI_GPU")):
        raise UserError(f"{accelerator.distributed_type} is not supported yet (allowed: {', '.join(kinds)})")
    _hold_to_promise(accelerator)
    return accelerator


def hardware(accelerator: Accelerator) -> dict[str, Any]:
    """The device, the processes and threads of this run, for the record."""
    import torch

    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": device.type,
        "device_name": name,
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "mixed_precision": accelerator.mixed_precision,
    }


def _refuse_half_on_cpu(accelerator: Accelerator, recipe: Recipe) -> None:
    """Raises UserError where float16 is asked for on CPU: accelerate has no autocast for it there and says nothing.

    A model in float16 then meets its head in float32 (``mat1 and mat2 must have the same dtype``); one in float32 is
    trained in full precision, under a record that says ``fp16``.
    """
    if accelerator.mixed_precision != "fp16" or accelerator.device.type != "cpu":
        return
    if recipe.training.mixed_precision == "fp16":
        told = "fp16 needs a GPU, and this run is on CPU: accelerate has no float16 autocast there; use bf16"
        raise UserError(told, ("training", "mixed_precision"))
    told = "float16 needs a GPU, and this run is on CPU: accelerate has no float16 autocast there; use bfloat16"
    raise UserError(told, ("model", "dtype"))


def _hold_to_promise(accelerator: Accelerator) -> None:
    """accelerate's launcher starts a single process for several on CPU and says nothing: notice it.

    torchrun and accelerate's other launchers set WORLD_SIZE; the single-process launcher sets MASTER_ADDR only when it
    was asked for more than one process.
    """
    processes = accelerator.num_processes
    promised = int(os.environ.get("WORLD_SIZE", "1"))
    if promised != processes:
        raise UserError(f"launched as one of {promised} processes, but only {processes} joined: each would train alone")
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ
    if by_accelerate and "MASTER_ADDR" in os.environ and processes == 1 and accelerator.device.type == "cpu":
        raise UserError(
            "accelerate launch was asked for several processes but starts one only on CPU; "
            "use: torchrun --nproc_per_node N -m peftkit train …"
        )
