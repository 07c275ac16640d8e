"""The first epoch's batches, for a method that begins from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from peftkit.contracts import Batch, Task
from peftkit.data.batching import effective_batches
from peftkit.data.encoding import Encoded
from peftkit.recipe import Recipe

if TYPE_CHECKING:
    import torch


class Batches(Sequence[Batch]):
    """Full batches of ``training.batch_size`` rows in the order of the first epoch, made when asked for on `device`.

    The same on every process. A last smaller batch is left out, unless it is the only one.
    """

    def __init__(self, rows: Encoded, task: Task, recipe: Recipe, device: torch.device) -> None:
        training = recipe.training
        order = effective_batches(
            rows.lengths, training.batch_size, training.train_sampling_strategy, recipe.seed, epoch=0
        )
        self.order = [batch for batch in order if len(batch) == training.batch_size] or order
        self.rows, self.task, self.device = rows, task, device

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self.task.collate([self.rows.examples[row] for row in self.order[index]]).to(self.device)
