"""The recipe: a frozen value that says everything about a run, checked without loading torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self, Union

from pydantic import BeforeValidator, Discriminator, PrivateAttr, Tag, model_validator
from pydantic_core import PydanticCustomError

from peftkit.contracts import MethodSettings, Settings, TaskSettings
from peftkit.errors import Key, unknown
from peftkit.methods import METHODS
from peftkit.metrics import METRICS, known
from peftkit.mixtures import MIXTURE, MixtureSettings, method_of, plain_data, refusals
from peftkit.recipe.bases import architecture
from peftkit.recipe.capable import capability_objections
from peftkit.recipe.forms import QUANTIZATIONS, long_form, short_form
from peftkit.recipe.groups import FOR_FACTORS, Data, Model, Quantization, Seed, Training
from peftkit.recipe.reading import Places, dump_yaml, place_of
from peftkit.tasks import TASKS


def _short(group: str) -> BeforeValidator:
    """Reads the short form of `group` too."""
    return BeforeValidator(lambda value: long_form(group, value))


def _name_of(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", value)
    return name if isinstance(name, str) else None


def _mixture_form(value: Any) -> Any:
    """A list of methods as a mixture's settings; a list of one as that one's."""
    if not isinstance(value, list):
        return value
    if not value:
        raise ValueError("an empty list; give a method, or a list of two")
    return {"parts": value} if len(value) > 1 else value[0]


def _kind_of(value: Any) -> str | None:
    """The name of a method, or the word for several of them."""
    several = isinstance(value, MixtureSettings) or (isinstance(value, dict) and "parts" in value)
    return MIXTURE if several else _name_of(value)


if TYPE_CHECKING:
    MethodChoice = MethodSettings
    TaskChoice = TaskSettings
else:

    def _choice(group: str, table: dict[str, type], told_apart_by: Any = _name_of) -> Any:
        """One of the settings classes of `table`, told apart by its name; the short form is the name alone."""
        kinds = tuple(Annotated[settings, Tag(name)] for name, settings in table.items())
        union = Annotated[Union[kinds], Discriminator(told_apart_by)]  # noqa: UP007 - built at run time
        return Annotated[union, _short(group)]

    _methods = {name: method.settings_class for name, method in METHODS.items()} | {MIXTURE: MixtureSettings}
    MethodChoice = Annotated[_choice("method", _methods, _kind_of), BeforeValidator(_mixture_form)]
    TaskChoice = _choice("task", {name: task.settings_class for name, task in TASKS.items()})


def _quantization_form(value: Any) -> Any:
    value = long_form("quantization", value)
    if value is None or isinstance(value, dict | Quantization):
        return value
    raise ValueError(f"{unknown('quantization', str(value), QUANTIZATIONS)}, or keys below it such as bits")


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
        method, training = method_of(self.method), self.training
        if isinstance(self.method, MixtureSettings):
            yield from (
                (("method",) if place is None else ("method", place), told) for place, told in refusals(self.method)
            )
        if self.quantization and not method.quantizable:
            fits = ", ".join(name for name, other in METHODS.items() if other.quantizable)
            yield (
                ("quantization",),
                f"method {self.method.name} {method.unquantizable} in {self.quantization.bits} bits; "
                f"use one of {fits}, or quantization: none",
            )
        if training.gradient_checkpointing and not method.checkpointable:
            fits = ", ".join(name for name, other in METHODS.items() if other.checkpointable)
            yield (
                ("training", "gradient_checkpointing"),
                f"method {self.method.name} does not work with it; use one of {fits}",
            )
        if self._halves_the_base() and not method.half_precision:
            yield ("method",), f"method {self.method.name} needs a base whose weights and products are in float32"
        if self.model.dtype != "float32" and training.mixed_precision == "no":
            yield (
                ("training", "mixed_precision"),
                f"a {self.model.dtype} model needs autocast: its trained weights are held in float32",
            )
        if training.optim in FOR_FACTORS and not method.factored:
            fits = ", ".join(name for name, other in METHODS.items() if other.factored)
            yield (
                ("training", "optim"),
                f"{training.optim} treats the factors of low-rank updates apart, and method {self.method.name} gives "
                f"none; use method {fits}, or optim: adamw",
            )
        if reason := method.unfit(self.quantization.bits if self.quantization else None):
            yield ("method",), reason
        yield from capability_objections(self, architecture(self.model.name, self.model.revision))
        yield from self._metric_objections()

    def _metric_objections(self) -> Iterator[tuple[Key, str]]:
        task = TASKS[self.task.name](self.task)
        fitting = [name for name, metric in METRICS.items() if set(metric.reads) & set(task.gives)]
        for metric in self.task.metrics:
            if not known(metric):
                yield ("task", "metrics"), unknown("metric", metric, (*fitting, "evaluate:NAME"))
            elif metric in METRICS and metric not in fitting:
                fits = ", ".join(sorted(fitting))
                yield ("task", "metrics"), f"{metric} does not fit {self.task.name} as set here (fitting: {fits})"
        chosen, scored = self.training.metric_for_best_model, (*task.metrics, "loss")
        if chosen is not None and chosen not in scored:
            yield ("training", "metric_for_best_model"), unknown("metric", chosen, scored)

    def _halves_the_base(self) -> bool:
        """Whether weights, or the products of a quantized base, are in half precision."""
        if self.model.dtype != "float32":
            return True
        mixed = self.training.mixed_precision not in (None, "no")
        return self.quantization is not None and (mixed or self.quantization.compute_dtype not in (None, "float32"))

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
        """What was said, in long forms, as plain JSON data; the rest are defaults."""
        return self._dump(exclude_unset=True)

    def _dump(self, **which: Any) -> dict[str, Any]:
        """Plain JSON data with the names of method and task, whatever else is left out."""
        return self.model_dump(mode="json", **which) | {
            "method": plain_data(self.method, **which),
            "task": {"name": self.task.name, **self.task.model_dump(mode="json", **which)},
        }

    def to_yaml(self) -> str:
        """The recipe as YAML: what differs from the defaults, short forms where they say it all; reads back equal."""
        data = self._dump(exclude_defaults=True)
        return dump_yaml({group: short_form(group, data[group]) for group in type(self).model_fields if group in data})
