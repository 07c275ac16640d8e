"""What every run makes sure of, whatever the method and the task: cheap checks before and in its first steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from peftkit.adapters.targets import collapsed
from peftkit.contracts import Base, Batch, Method, Step, Task, Watcher
from peftkit.data import Encoded
from peftkit.errors import PeftkitError
from peftkit.model.logits import logits_of
from peftkit.training.checksums import checksums, kept_tensors

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, device
    from torch.nn import Module

ENOUGH_STEPS = 3
"""Optimizer steps after which everything trained has moved: a factor that starts at zero holds others back for one or
two of them (LoRA's B its A, AdaLoRA's lambda its P and Q)."""
STARTING_ROWS = 2
"""The shortest rows: the logits of a language model are large."""
TOLERANCE = {"no": 1e-4, "bf16": 3e-2, "fp16": 1e-2}
"""Largest difference of logits at the start, relative to the largest logit, by autocast."""
INT8_FACTOR = 3
"""So much more below autocast on an 8-bit base: it rounds activations to 8 bits, and the last digit of a half can fall
on the other side there."""
HEAD_COPY = re.compile(r"\.modules_to_save\.[^.]+")
"""What peft puts into the names of a trained head."""


class Guard(Watcher):
    """Ends a run, with a record that says why, where it is surely not what its recipe says. Each process has its own.

    Before the first step: the whole model is on this process's device; what is trained is in float32; the head is
    trained; the attached model computes what the base computes, where the method promises it. After three optimizer
    steps that count (learning rate above 0, not skipped for infinite gradients), or at the end of a shorter run: no
    frozen tensor has changed, bit for bit, and every tensor of the head and of what the method has added was reached
    by a gradient. What is trained and has not moved for better reasons is noted for the record.
    """

    def __init__(self, accelerator: Accelerator, method: Method, base: Base, task: Task, rows: Encoded) -> None:
        """Looks at the base before the method is attached to it."""
        self.accelerator = accelerator
        self.found: dict[str, Any] = {"base_bits": base.bits} if base.bits else {}
        self.own = {id(parameter) for parameter in base.model.parameters()}
        self.head = [f"{part}.{name}" for part in base.head for name in _parameters_in(base.model, part)]
        self.counted = 0
        self.before: Tensor | None = None
        self.unreached: set[str] = set()
        self.hooks: list[Any] = []
        self.model: Module = base.model
        self.batch: Batch | None = None
        if method.starts_as_base():
            shortest = sorted(range(len(rows)), key=rows.lengths.__getitem__)[:STARTING_ROWS]
            self.batch = task.collate([rows.examples[row] for row in shortest]).to(accelerator.device)
            self.starting_logits = logits_of(self.model, self.batch, self.accelerator)

    def model_ready(self, model: Module) -> None:
        self.model = model
        if self.batch is not None:
            self._check_start(self.batch)
            self.batch = None

    def training_started(self, total_steps: int) -> None:
        self.last_step = total_steps
        self.trainable = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.head_names = set(_trained_head(self.head, self.trainable))
        check_placement(self.model, self.accelerator.device)
        check_precision(self.trainable)
        self.before = checksums(kept_tensors(self.model))
        self.unreached = set(self.trainable)
        self.hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._reached, name))
            for name, parameter in self.trainable.items()
        ]

    def stepped(self, step: Step) -> None:
        if self.before is None:
            return
        self.counted += step.learning_rate > 0 and not self.accelerator.optimizer_step_was_skipped
        if self.counted == ENOUGH_STEPS or (self.counted and step.number == self.last_step):
            self._compare()

    def findings(self) -> dict[str, Any]:
        """What the record keeps: ``checked_after_steps``, and the names of what is trained and has not moved; neither
        where patience ended the run before its third step, for then earlier weights may have been put back."""
        return self.found

    def _reached(self, name: str, parameter: Tensor) -> None:
        self.unreached.discard(name)

    def _compare(self) -> None:
        """Holds the model to what it was before the first step."""
        tensors = kept_tensors(self.model)
        assert self.before is not None
        changed = (checksums(tensors) != self.before).tolist()
        self.before = None
        for hook in self.hooks:
            hook.remove()
        moved = {name for name, other in zip(tensors, changed, strict=True) if other}
        after = f"in the first {self.counted} optimizer steps"
        if strayed := sorted(moved - set(self.trainable) - self._running_statistics()):
            raise PeftkitError(f"{_told(strayed)}: frozen, and yet changed {after}; it would not be saved")
        unmoved = set(self.trainable) - moved
        if lost := sorted(name for name in self.unreached if name in self.head_names or self._is_added(name)):
            raise PeftkitError(
                f"{_told(lost)}: trained, but no gradient has reached it {after}: it takes no part in what the task "
                "computes, or its gradient is cut off"
            )
        outside = set(self.trainable) - self.head_names
        if outside and outside <= unmoved:
            raise PeftkitError(f"{_told(sorted(outside))}: trained, but none of it has moved {after}")
        self.found |= {"checked_after_steps": self.counted, "unmoved": collapsed(unmoved)}

    def _is_added(self, name: str) -> bool:
        return id(self.trainable[name]) not in self.own

    def _running_statistics(self) -> set[str]:
        """Buffers of modules that are trained themselves: batch normalization under full fine-tuning."""
        return {
            f"{prefix}.{name}"
            for prefix, module in self.model.named_modules()
            if any(parameter.requires_grad for parameter in module.parameters(recurse=False))
            for name, _ in module.named_buffers(recurse=False)
        }

    def _check_start(self, batch: Batch) -> None:
        difference = float((logits_of(self.model, batch, self.accelerator) - self.starting_logits).abs().max())
        precision = self.accelerator.mixed_precision
        factor = INT8_FACTOR if self.found.get("base_bits") == 8 and precision != "no" else 1
        allowed = factor * TOLERANCE[precision] * max(1.0, float(self.starting_logits.abs().max()))
        if not difference <= allowed:
            raise PeftkitError(
                f"before any training the model with the adapter gives other logits than the base (off by "
                f"{difference:.2g}, allowed {allowed:.2g}): the method does not start here as it promises"
            )


def check_placement(model: Module, own: device) -> None:
    """Raises PeftkitError where a parameter or buffer is not on `own`, this process's device."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.device.type != own.type or (tensor.device.index or 0) != (own.index or 0):
            raise PeftkitError(f"{name} is on {tensor.device}, but this process trains on {own}: the model is split")


def check_precision(trainable: dict[str, Any]) -> None:
    """Raises PeftkitError where a trained parameter is not in float32: half precision loses small updates."""
    for name, parameter in trainable.items():
        if str(parameter.dtype) != "torch.float32":
            raise PeftkitError(f"{name} is trained in {parameter.dtype}, and would lose small updates; not in float32")


def _trained_head(head: Sequence[str], trainable: Iterable[str]) -> Iterator[str]:
    """Full names of the trained parameters of the head. Raises PeftkitError where one is not trained."""
    plain = {f".{HEAD_COPY.sub('', name)}": name for name in trainable}
    for wanted in head:
        found = [name for ending, name in plain.items() if ending.endswith(f".{wanted}")]
        if not found:
            raise PeftkitError(f"{wanted} belongs to the task's new head, but the method does not train it")
        yield from found


def _parameters_in(model: Module, part: str) -> list[str]:
    return [name for name, _ in model.get_submodule(part).named_parameters()]


def _told(names: Sequence[str]) -> str:
    """``bert.encoder.layer.0-11.output.dense.bias and 3 more``."""
    short = collapsed(names)
    more = f" and {len(short) - 1} more" if len(short) > 1 else ""
    return f"{short[0]}{more}"
