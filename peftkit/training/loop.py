"""The one loop: batches in, trained weights out. It knows no method, no task and no device by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Batch, Hook, Step, Task, Watcher
from peftkit.data import Encoded, effective_batches, step_slots
from peftkit.errors import PeftkitError
from peftkit.recipe import Training
from peftkit.training.best import Best
from peftkit.training.checkpoint import load_checkpoint, save_checkpoint
from peftkit.training.optimizers import Optimization

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from torch.nn import Module

Scores = Mapping[str, float]


def plan_steps(training: Training, rows: int, processes: int) -> int:
    """Optimizer steps of the whole run."""
    per_epoch = math.ceil(rows / effective_batch_size(training, processes))
    return training.max_steps or max(1, math.ceil(per_epoch * training.epochs))


def effective_batch_size(training: Training, processes: int) -> int:
    """Rows to one optimizer step over all processes."""
    return training.batch_size * training.gradient_accumulation_steps * processes


@dataclass
class Loop:
    """Everything that training needs; `run` does it.

    The loss of a step is the sum over all its passes and processes, divided by the supervised items in all of them: a
    batch split over accumulation steps or processes gives the gradient of the unsplit batch, also when rows are uneven.
    """

    accelerator: Accelerator
    model: Module
    task: Task
    rows: Encoded
    training: Training
    learning_rate: float
    optimization: Optimization
    seed: int
    total_steps: int
    hooks: Sequence[Hook]
    watchers: Sequence[Watcher]
    evaluate: Callable[[], Scores]
    """Validation scores of the model as it stands, the same on every process."""
    checkpoints: Path
    """Where the best weights are kept."""
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Best = field(init=False)

    def __post_init__(self) -> None:
        self.best = Best(self.training.metric_for_best_model or self.task.metrics[0])

    def run(self) -> None:
        """Trains to the end, or until patience runs out; leaves the best weights in the model where they are kept."""
        self._prepare()
        for watcher in self.watchers:
            watcher.training_started(self.total_steps)
        per_epoch = math.ceil(len(self.rows) / effective_batch_size(self.training, self.accelerator.num_processes))
        self.wrapped.train()
        for number, batch in enumerate(self._batches(), 1):
            self._tell(self._step(number, batch))
            if self._evaluation_due(number, per_epoch) and self._out_of_patience(number):
                break
        if self.best.checkpoint is not None:
            self.accelerator.wait_for_everyone()
            load_checkpoint(self.model, self.hooks, self.best.checkpoint)

    def release(self) -> None:
        """Lets go of gradients and optimizer state: the weights are all that is left."""
        self.optimizer.zero_grad()
        self.optimizer.state.clear()
        self.accelerator.free_memory()

    def _prepare(self) -> None:
        from transformers import get_scheduler

        optimizer = self.optimization.optimizer(self.model, self.learning_rate)
        warmup = math.ceil(self.total_steps * self.training.warmup_ratio)
        self.scheduler = get_scheduler(self.training.lr_scheduler_type, optimizer, warmup, self.total_steps)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)

    def _batches(self) -> Iterator[list[int]]:
        """Row numbers of each optimizer step, epoch after epoch, `total_steps` of them."""
        size = effective_batch_size(self.training, self.accelerator.num_processes)
        done = epoch = 0
        while True:
            strategy = self.training.train_sampling_strategy
            for batch in effective_batches(self.rows.lengths, size, strategy, self.seed, epoch):
                if done == self.total_steps:
                    return
                done += 1
                yield batch
            epoch += 1

    def _step(self, number: int, rows: list[int]) -> Step:
        """One optimizer step: forward and backward over this process's passes, then the update."""
        started = time.perf_counter()
        slots = step_slots(
            rows, self.training.batch_size, self.accelerator.num_processes, self.accelerator.process_index
        )
        batches = [self._collate(slot or rows[:1], number) for slot in slots]
        real = [batch for slot, batch in zip(slots, batches, strict=True) if slot]
        items = int(self._over_processes(sum(map(self.task.supervised, real))))
        padded_tokens = int(self._over_processes(sum(batch.padded_tokens for batch in real)))
        losses: list[Tensor] = []
        for index, (slot, batch) in enumerate(zip(slots, batches, strict=True)):
            last = index == len(slots) - 1
            with self._gradient_sync(last):
                loss = self.task.loss(self.wrapped(**batch.inputs), batch) if slot else self._idle_pass(batch)
                losses.append(loss.detach())
                # DDP averages gradients over the processes; the mean over all items needs their sum
                loss = loss * self.accelerator.num_processes / max(items, 1)
                self.accelerator.backward(self._regularized(loss) if last else loss)
        mean = self._over_processes(sum(loss.item() for loss in losses)) / max(items, 1)
        learning_rate = self.scheduler.get_last_lr()[0]
        if not math.isfinite(mean):
            raise PeftkitError(
                f"the loss is {mean} at step {number} (learning rate {learning_rate:.2e}): training stopped"
            )
        self._update(number)
        return Step(
            number=number,
            loss=mean,
            learning_rate=learning_rate,
            seconds=time.perf_counter() - started,
            samples=len(rows),
            tokens=sum(self.rows.lengths[row] for row in rows),
            padded_tokens=padded_tokens,
            supervised=items,
        )

    def _update(self, number: int) -> None:
        if self.training.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.training.max_grad_norm)
        self.optimizer.step()
        if (
            self.accelerator.optimizer_step_was_skipped
        ):  # fp16: the gradients were infinite, and hooks must not see them
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.zero_()
        else:
            self.scheduler.step()
        for hook in self.hooks:
            hook.after_optimizer_step(number)
        self.optimizer.zero_grad()
        if self.accelerator.device.type != "cpu":
            import torch

            torch.accelerator.synchronize()  # the step's time must hold its work

    def _collate(self, rows: Sequence[int], step: int) -> Batch:
        augment = Random(f"{self.seed}/{step}/{rows[0]}")  # the same rows look different in every epoch
        return self.task.collate([self.rows.examples[row] for row in rows], augment).to(self.accelerator.device)

    def _idle_pass(self, batch: Batch) -> Any:
        """A pass that counts nothing: the other processes wait for this one's gradients."""
        return self.task.loss(self.wrapped(**batch.inputs), batch) * 0.0

    def _regularized(self, loss: Any) -> Any:
        terms = [term for hook in self.hooks if (term := hook.regularization()) is not None]
        return sum(terms, loss)

    def _gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def _over_processes(self, value: float) -> float:
        """The sum of `value` over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        import torch

        total = self.accelerator.reduce(torch.tensor(value, dtype=torch.float64, device=self.accelerator.device))
        return float(total.item())

    def _tell(self, step: Step) -> None:
        if step.number % self.training.logging_steps == 0 or step.number in (1, self.total_steps):
            entry = {"step": step.number, "loss": step.loss, "learning_rate": step.learning_rate}
            self.history.append(entry)
        for watcher in self.watchers:
            watcher.stepped(step)

    def _evaluation_due(self, number: int, per_epoch: int) -> bool:
        match self.training.eval_strategy:
            case "no":
                return False
            case "steps":
                return number % (self.training.eval_steps or 1) == 0 or number == self.total_steps
            case "epoch":
                return number % per_epoch == 0 or number == self.total_steps

    def _out_of_patience(self, number: int) -> bool:
        """Evaluates, keeps the weights when they are the best, and says whether to stop early."""
        scores = dict(self.evaluate())
        self.wrapped.train()
        self.history.append({"step": number, **{f"validation_{name}": value for name, value in scores.items()}})
        for watcher in self.watchers:
            watcher.evaluated(number, scores)
        if not all(hook.settled(number) for hook in self.hooks):
            return False
        if self.best.take(scores[self.best.metric], number):
            self._keep(number, scores)
        return self.best.out_of_patience(self.training.early_stopping_patience)

    def _keep(self, number: int, scores: Scores) -> None:
        if not self.training.load_best_model_at_end:
            return
        name = f"step-{number:06d}"
        if self.accelerator.is_main_process:
            save_checkpoint(self.model, self.hooks, self.checkpoints, name, {"step": number, "scores": scores})
        self.best.checkpoint = self.checkpoints / name
