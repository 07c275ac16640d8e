"""Method: how a base model is made trainable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftkit.contracts.rows import Batch
from peftkit.contracts.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from transformers import PreTrainedModel


class MethodSettings(Settings):
    """What every method's settings share: the name it is found by. Fields of peft methods are peft's own."""

    name: str


@dataclass(frozen=True)
class Base:
    """A loaded base model, as a method finds it.

    `head` are the full dotted names of the modules that are new for the task: always trained, always saved, never
    quantized. `bits` is 8 or 4 when the base is quantized. `peft_task_type` is peft's word for the task, if it has one.
    """

    model: PreTrainedModel
    head: tuple[str, ...]
    peft_task_type: str | None
    bits: Literal[4, 8] | None = None
    unquantized: Callable[[], PreTrainedModel] | None = None
    """Loads the same base once more, on the CPU, with the weights that a quantized one was made from; None where they
    are not there."""


@dataclass(frozen=True)
class Factors:
    """A low-rank update scaling·up·down of one weight ``(out, in)``, for optimizers that treat its halves apart."""

    up: Parameter
    """B, ``(out, r)``."""
    down: Parameter
    """A, ``(r, in)``."""
    scaling: float


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
    unquantizable: ClassVar[str] = "trains the base itself and cannot do so"
    """What it does there where it cannot; ``in 4 bits`` follows."""
    checkpointable: ClassVar[bool] = True
    """Whether it works with gradient checkpointing."""
    half_precision: ClassVar[bool] = True
    """Whether it works where the base's weights, or a quantized base's products, are in half precision."""
    mergeable: ClassVar[bool] = False
    """Whether what it trained can be folded into the base's own weights, so that an ordinary model is left."""

    factored: ClassVar[bool] = False
    """Whether what it trains are `factors`, for which there are optimizers of their own."""
    identity_at_start: ClassVar[bool] = False
    """Whether the attached model computes at first what the base computes; see `starts_as_base`."""

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def starts_as_base(self) -> bool:
        """Whether these settings keep what `identity_at_start` promises; every run holds the method to it."""
        return self.identity_at_start

    @abstractmethod
    def attach(self, base: Base, total_steps: int) -> Module:
        """The trainable model. `total_steps` counts optimizer steps, for methods with a schedule of their own."""

    @abstractmethod
    def save(self, model: Module, folder: Path) -> None:
        """Writes what was trained into `folder`, safetensors only."""

    @abstractmethod
    def load(self, base: Base, folder: Path) -> Module:
        """What `save` wrote, on a fresh base, for inference."""

    def initialize(self, model: Module, batches: Sequence[Batch]) -> None:
        """Lets the attached model begin from training data; nothing for most. Called once, before anything is trained.

        `batches` are those of the first epoch, made when asked for, on the model's device; the same on every process.
        """

    def factors(self, model: Module) -> Sequence[Factors]:
        """The low-rank updates that are trained in `model`; none for most."""
        return ()

    def merged(self, model: Module) -> Module:
        """The base model with what was trained folded into its weights, in place; for methods that are `mergeable`.

        Raises ValueError, or another error of the library's, where these settings cannot be merged.
        """
        raise NotImplementedError(f"{self.settings.name} cannot be merged")

    def hooks(self, model: Module) -> Sequence[Hook]:
        """What this method does during training; nothing for most."""
        return ()

    def virtual_tokens(self) -> int:
        """Positions that the method takes from the model's longest input."""
        return 0

    def unfit(self, bits: Literal[4, 8] | None) -> str | None:
        """Why these settings cannot work on a base of so many bits (None: not quantized), and what would; else None.

        For what depends on the settings: `quantizable` says it of the method as a whole.
        """
        return None

    def objections(self, total_steps: int) -> Iterator[str]:
        """What makes these settings impossible, one line each; asked before anything is loaded."""
        return iter(())

    def reach(self, model: Module) -> dict[str, Any]:
        """Which modules the attached method works in, as JSON data; needs no weights."""
        return {}

    def outcome(self, model: Module) -> dict[str, Any]:
        """What the record keeps of the method after training (final ranks), as JSON data."""
        return {}
