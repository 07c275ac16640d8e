"""The recipe: a frozen value that says everything about a run, checked without loading torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag, model_validator
from pydantic_core import PydanticCustomError

from peftkit.contracts import MethodSettings, Settings, TaskSettings
from peftkit.errors import Key, unknown
from peftkit.methods import METHODS
from peftkit.recipe.forms import QUANTIZATIONS, long_form, short_form
from peftkit.recipe.reading import Places, dump_yaml, place_of
from peftkit.tasks import TASKS

PositiveInt = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
"""What numpy takes as a seed (numpy.random.seed)."""


def _short(group: str) -> BeforeValidator:
    """Reads the short form of `group` too."""
    return BeforeValidator(lambda value: long_form(group, value))


def _name_of(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", value)
    return name if isinstance(name, str) else None


if TYPE_CHECKING:
    MethodChoice = MethodSettings
    TaskChoice = TaskSettings
else:

    def _choice(group: str, table: dict[str, Any]) -> Any:
        """One of the settings classes of `table`, told apart by its name; the short form is the name alone."""
        kinds = tuple(Annotated[entry.settings_class, Tag(name)] for name, entry in table.items())
        union = Annotated[Union[kinds], Discriminator(_name_of)]  # noqa: UP007 - built at run time
        return Annotated[union, _short(group)]

    MethodChoice = _choice("method", METHODS)
    TaskChoice = _choice("task", TASKS)


class Model(Settings):
    """The base model: a hub name or a local folder."""

    name: str = Field(min_length=1)
    """A hub name, a local folder, or a name that an installed package carries."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision the frozen weights are held in; what is trained is held in float32."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] | None = None
    """transformers' attn_implementation; by default its own choice, sdpa where the architecture has it."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run."""


class Quantization(Settings):
    """bitsandbytes quantization of the frozen base; heads are never quantized."""

    bits: Literal[4, 8]
    type: Literal["nf4", "fp4"] = "nf4"
    """Data type of 4-bit weights (Dettmers et al. 2023, arXiv:2305.14314)."""
    double: bool = False
    """Whether the 4-bit scales are quantized too."""
    compute_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision of the 4-bit matrix products; the model's dtype by default."""

    @model_validator(mode="after")
    def _only_4bit_fields(self) -> Self:
        given = sorted(self.model_dump(exclude={"bits"}, exclude_defaults=True))
        if self.bits == 8 and given:
            raise ValueError(f"{', '.join(given)}: for 4-bit quantization only")
        return self


def _quantization_form(value: Any) -> Any:
    value = long_form("quantization", value)
    if value is None or isinstance(value, dict | Quantization):
        return value
    raise ValueError(f"{unknown('quantization', str(value), QUANTIZATIONS)}, or keys below it such as bits")


SplitOrShare = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?%|[\w.-]+)$")]


class Data(Settings):
    """Where the rows come from and how they are split."""

    source: str | list[str] | dict[str, str] = Field(union_mode="left_to_right")
    """``builtin:NAME``, a folder, a file, a list of files, files by split, or a hub name."""
    config: str | None = None
    """Configuration of a hub data set."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    train: str = "train"
    """Name of the training split."""
    validation: SplitOrShare | None = None
    """A split's name, or a share cut from train such as ``10%``; by default a split of that name, else 10% of train."""
    test: SplitOrShare | None = None
    """A split's name, or a share cut from train; by default a split of that name, else the validation rows."""
    max_train_samples: PositiveInt | None = None
    """Keeps that many training rows, drawn with the seed."""
    max_eval_samples: PositiveInt | None = None
    """Keeps that many validation rows."""
    max_predict_samples: PositiveInt | None = None
    """Keeps that many test rows."""
    split_seed: Seed = 0
    """Seed of the cuts above; apart from the run's seed, so that seeds are compared on the same rows."""


class Training(Settings):
    """How training runs; names are those of transformers' TrainingArguments where the meaning is the same."""

    epochs: PositiveFloat = 3.0
    """Passes over the training rows."""
    max_steps: PositiveInt | None = None
    """Optimizer steps; overrides epochs."""
    batch_size: PositiveInt = 32
    """Rows a process takes at a time."""
    eval_batch_size: PositiveInt = 64
    """Rows a process takes at a time when evaluating."""
    gradient_accumulation_steps: PositiveInt = 1
    """Batches of every process to one optimizer step."""
    learning_rate: PositiveFloat | None = None
    """Peak learning rate; the method's own by default."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    adam_epsilon: PositiveFloat = 1e-8
    lr_scheduler_type: Literal["linear", "cosine", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"] = (
        "linear"
    )
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.06
    """Share of the optimizer steps in which the learning rate rises from 0."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are clipped to this norm; 0 does not clip."""
    max_length: PositiveInt | None = None
    """Tokens a row is cut to; the model's longest input by default."""
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    """Autocast of the forward pass; by default that of the model's dtype (no for float32)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    train_sampling_strategy: Literal["random", "group_by_length"] = "random"
    """`group_by_length` puts rows of like length together, in random order of batches: less padding."""
    eval_strategy: Literal["no", "epoch", "steps"] = "epoch"
    eval_steps: PositiveInt | None = None
    """Optimizer steps between evaluations, with ``eval_strategy: steps``."""
    metric_for_best_model: str | None = None
    """Metric that chooses the best checkpoint; the task's first by default. ``loss`` works for every task."""
    load_best_model_at_end: bool = True
    """Keep the best evaluated weights; the last ones otherwise."""
    early_stopping_patience: PositiveInt | None = None
    """Stop after that many evaluations without a better score."""
    logging_steps: PositiveInt = 10
    """Optimizer steps between entries of the loss history and of the trackers."""
    report_to: list[str] = []
    """Trackers by accelerate's names: tensorboard, wandb, …"""

    @model_validator(mode="after")
    def _evaluation_is_complete(self) -> Self:
        if (self.eval_strategy == "steps") != (self.eval_steps is not None):
            raise ValueError("eval_steps and eval_strategy: steps go together")
        if self.early_stopping_patience and self.eval_strategy == "no":
            raise ValueError("early_stopping_patience needs eval_strategy epoch or steps")
        return self


class Recipe(Settings):
    """Base model + method + quantization + task + data + training settings + seed."""

    model: Annotated[Model, _short("model")]
    quantization: Annotated[Quantization | None, BeforeValidator(_quantization_form)] = None
    method: MethodChoice
    task: TaskChoice
    data: Annotated[Data, _short("data")]
    training: Training = Training()
    seed: Seed = 0
    """Set before the model and the adapter are created: initialisation, order, dropout."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if objections := list(self._objections()):
            told = "; ".join(f"{'.'.join(map(str, key))}: {reason}" for key, reason in objections)
            raise PydanticCustomError("impossible", "{told}", {"told": told, "objections": objections})
        return self

    def _objections(self) -> Iterator[tuple[Key, str]]:
        """What does not go together: the setting to change, and why."""
        method, training = METHODS[self.method.name], self.training
        if self.quantization and not method.quantizable:
            fits = ", ".join(name for name, other in METHODS.items() if other.quantizable)
            yield (
                ("quantization",),
                f"method {self.method.name} trains the base itself and cannot do so in {self.quantization.bits} bits; "
                f"use one of {fits}, or quantization: none",
            )
        if training.gradient_checkpointing and not method.checkpointable:
            fits = ", ".join(name for name, other in METHODS.items() if other.checkpointable)
            yield (
                ("training", "gradient_checkpointing"),
                f"method {self.method.name} does not work with it; use one of {fits}",
            )
        metric, metrics = training.metric_for_best_model, (*TASKS[self.task.name].metrics, "loss")
        if metric is not None and metric not in metrics:
            yield ("training", "metric_for_best_model"), unknown("metric", metric, metrics)

    _places: Places = PrivateAttr(default_factory=dict)

    def remember(self, places: Places) -> None:
        """Keeps where each key was written, so that a later error can say file:line."""
        self._places.update(places)

    def place(self, key: Key) -> str:
        """Where `key` was written (``recipe.yaml:12``); the empty string for a recipe made in Python."""
        return place_of(self._places, key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def hash(self) -> str:
        """16 hex digits over the whole content, defaults included; the same for recipes that mean the same."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def given(self) -> dict[str, Any]:
        """What differs from the defaults, in long forms, as plain JSON data."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return data | {
            group: {"name": settings.name, **settings.model_dump(mode="json", exclude_defaults=True)}
            for group, settings in (("method", self.method), ("task", self.task))
        }

    def to_yaml(self) -> str:
        """The recipe as YAML: what differs from the defaults, short forms where they say it all; reads back equal."""
        data = self.given()
        return dump_yaml({group: short_form(group, data[group]) for group in type(self).model_fields if group in data})
