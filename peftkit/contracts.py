"""The nouns of peftkit as small abstract classes: read this first.

A recipe goes in, a record comes out. Between them a `Method` makes a base model trainable, a `Task` says what is
learnt and how predictions are read back, a `Metric` turns predictions into a score, a `Probe` watches the run and
gives a cost.
Nothing here imports torch: types of other libraries are named for the reader and the type checker only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = Mapping[str, Any]
Batch = dict[str, Any]
"""Model inputs by name, tensors of ``(batch, tokens)``, and ``labels`` in the shape that the task's loss wants."""
Direction = Literal["higher", "lower"]
IGNORED = -100
"""The label that no loss looks at (torch's cross_entropy, ignore_index)."""


class Settings(BaseModel):
    """A frozen group of settings: unknown keys are refused, values are not silently converted between kinds."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


# --- Method ----------------------------------------------------------------------------------------------------------


class MethodSettings(Settings):
    """What every method's settings share: the name it is found by. Fields of peft methods are peft's own."""

    name: str


@dataclass(frozen=True)
class Base:
    """A loaded base model, as a method finds it.

    `head` are the full dotted names of the modules that are new for the task: always trained, always saved, never
    quantized. `bits` is 8 or 4 when the base is quantized. `peft_task_type` is peft's word for the task.
    """

    model: PreTrainedModel
    head: tuple[str, ...]
    peft_task_type: str
    bits: Literal[4, 8] | None = None


class Hook:
    """Where a method may act in the loop. Each place is a documented no-op; override what you need."""

    def regularization(self) -> Tensor | None:
        """A scalar added once per optimizer step to the mean loss, or None."""
        return None

    def after_optimizer_step(self, step: int) -> None:
        """Called with the count of finished optimizer steps (from 1), before gradients are cleared."""

    def settled(self, step: int) -> bool:
        """Whether weights after this step have the form that the method promises, and may be kept as the best."""
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep of this hook, as JSON data."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` gave."""


class Method(ABC):
    """How a base model is made trainable. Bound to its settings: ``METHODS["lora"](LoraSettings(r=16))``."""

    settings_class: ClassVar[type[MethodSettings]]
    learning_rate: ClassVar[float]
    """Peak learning rate where the recipe gives none; the source is in the class's docstring."""
    quantizable: ClassVar[bool] = True
    """Whether it can train on an 8- or 4-bit base."""
    checkpointable: ClassVar[bool] = True
    """Whether it works with gradient checkpointing."""
    half_precision: ClassVar[bool] = True
    """Whether it works where the base's weights, or a quantized base's products, are in half precision."""

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    @abstractmethod
    def attach(self, base: Base, total_steps: int) -> Module:
        """The trainable model. `total_steps` counts optimizer steps, for methods with a schedule of their own."""

    @abstractmethod
    def save(self, model: Module, folder: Path) -> None:
        """Writes what was trained into `folder`, safetensors only."""

    @abstractmethod
    def load(self, base: Base, folder: Path) -> Module:
        """What `save` wrote, on a fresh base, for inference."""

    def hooks(self, model: Module) -> Sequence[Hook]:
        """What this method does during training; nothing for most."""
        return ()

    def virtual_tokens(self) -> int:
        """Positions that the method takes from the model's longest input."""
        return 0

    def objections(self, total_steps: int) -> Iterator[str]:
        """What makes these settings impossible, one line each; asked before anything is loaded."""
        return iter(())

    def reach(self, model: Module) -> dict[str, Any]:
        """Which modules the attached method works in, as JSON data; needs no weights."""
        return {}

    def outcome(self, model: Module) -> dict[str, Any]:
        """What the record keeps of the method after training (final ranks), as JSON data."""
        return {}


# --- Task ------------------------------------------------------------------------------------------------------------


class TaskSettings(Settings):
    """What every task's settings share: the hub's task tag."""

    name: str


class Task(ABC):
    """What is learnt and scored. Bound to its settings; `learn` first, then the rest."""

    settings_class: ClassVar[type[TaskSettings]]
    auto_class: ClassVar[str]
    """Name of the transformers Auto class that carries the head."""
    peft_task_type: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    """Names in the METRICS table, the first is the one to choose by."""

    def __init__(self, settings: TaskSettings) -> None:
        self.settings = settings

    @abstractmethod
    def columns(self) -> Mapping[str, str]:
        """Columns that the data must have: setting → column name."""

    @abstractmethod
    def learn(self, splits: Mapping[str, Dataset]) -> None:
        """Takes from the training rows what defines the task (class names) and checks the other splits against it."""

    @abstractmethod
    def check_known(self, rows: Dataset, split: str) -> None:
        """Raises UserError when rows hold what `learn` did not see in training (an unknown class)."""

    @abstractmethod
    def restore(self, config: Mapping[str, Any]) -> None:
        """Takes from a trained model's config what `learn` took from the rows."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Fields of the model's config: number of labels, their names, the problem type."""

    @abstractmethod
    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> dict[str, Any]:
        """A batch of rows as model inputs, one list a column; with ``labels`` where the rows have them."""

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The *sum* of the losses over the supervised items of the batch, a scalar in float32."""

    def supervised(self, batch: Batch) -> int:
        """How many items `loss` sums over; the loop divides by their count over the whole effective batch."""
        return int((batch["labels"] != IGNORED).sum())

    def stratify_by(self) -> str | None:
        """The column whose values every cut of the data keeps in proportion, if any."""
        return None

    @abstractmethod
    def read(self, outputs: Any, batch: Batch) -> list[dict[str, Any]]:
        """One prediction a row, as plain data for the record and for `predict`."""

    @abstractmethod
    def reference(self, row: Row) -> Any:
        """What the prediction of this row is compared with, as plain data."""

    @abstractmethod
    def row(self, line: str) -> dict[str, Any]:
        """A line of text typed by a user as a row; raises UserError where the task needs more than one text."""

    def detail(self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Any]) -> dict[str, Any]:
        """What does not fit a column: a per-class table; nothing for most."""
        return {}


# --- Metric and probe: a metric gives a score, a probe gives a cost --------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """A pure function of predictions and references to a score."""

    compute: Callable[[Sequence[Mapping[str, Any]], Sequence[Any]], float]
    direction: Direction
    definition: str
    """Which definition the number follows."""


@dataclass(frozen=True)
class Step:
    """One optimizer step. Seconds on this process; samples and tokens of all processes."""

    number: int
    """From 1."""
    loss: float
    """Mean over the supervised items of the whole effective batch, all processes."""
    learning_rate: float
    seconds: float
    samples: int
    tokens: int
    """Tokens that are not padding."""
    padded_tokens: int
    """All tokens that went through the model, padding included."""


class Watcher:
    """Sees a run go by. Every event is a documented no-op; override what you need.

    Phases are ``import``, ``tokenize``, ``load``, ``train``, ``evaluate`` and ``save``; they do not nest: one that
    starts inside another suspends it.
    """

    def phase_started(self, phase: str) -> None:
        """A phase begins."""

    def phase_ended(self, phase: str) -> None:
        """A phase ends."""

    def model_ready(self, model: Module) -> None:
        """The trainable model stands, before the first step."""

    def training_started(self, total_steps: int) -> None:
        """So many optimizer steps lie ahead."""

    def stepped(self, step: Step) -> None:
        """An optimizer step is done."""

    def evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """The validation scores after optimizer step `step`."""

    def saved(self, folder: Path) -> None:
        """What was trained lies in `folder`."""


class Probe(Watcher, ABC):
    """A watcher that gives costs."""

    @abstractmethod
    def costs(self) -> dict[str, Any]:
        """The costs seen, by name, in the units that the probe's docstring states; missing stays missing."""
