"""Any tuner of peft as a method: its settings are peft's own config fields, and little else has to be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import isabstract
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import ConfigDict, Field, create_model

from peftkit.adapters.attaching import Adapter, one_line
from peftkit.adapters.fields import known_fields
from peftkit.adapters.sizes import Size, fitted, targeted_shapes
from peftkit.adapters.targets import HEAD_PARTS
from peftkit.contracts import Base, MethodSettings
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch.nn import Module

OWN = {
    "modules_to_save": "the task's head, found from what the checkpoint lacks",
    "fan_in_fan_out": "read from the layer by peft",
    "token_dim": "read from the model",
    "num_layers": "read from the model",
    "num_attention_heads": "read from the model",
    "num_transformer_submodules": "read from the model",
    "tokenizer_name_or_path": "the recipe's model",
    "tokenizer_kwargs": "the recipe's model",
    "runtime_offload_base_weight": "where a computation happens, not what it gives",
    "progressbar": "what is shown, not what is computed",
}
"""Fields of peft's configs that a recipe cannot set, and who says them instead. Those that every config of peft has
(its type, the task's, the base's name, inference mode) are in no list of a tuner's fields at all."""
KINDS: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": float,
    "text": str,
    "texts": list[str],
    "ints": list[int],
    "dict": dict[str, Any],
    "nothing": None,
    "any": Any,
}
COUNTS = ("r", "u", "alpha", "lora_alpha", "randlora_alpha", "psoft_alpha", "num_virtual_tokens", "num_vectors", "topk")
"""Whole numbers of which peft would take 0 without a word, and train nothing or less than was meant."""


class PeftSettings(MethodSettings):
    """Settings made from a data file, which says what a field means: there is no source to look for docstrings in."""

    model_config = ConfigDict(use_attribute_docstrings=False)


class Passthrough(Adapter):
    """A tuner of peft under its own words. A method derives from it, and its class attributes say the rest.

    The settings class is made from the data file that `peftkit.adapters.fields` reads from peft: strict, unknown keys
    refused, without the fields of `OWN`. Sizes that must fit the layers (`sizes`) are chosen from the model where the
    user gave none: the largest that fits, up to the default; `reach` says what was chosen.
    """

    unquantizable: ClassVar[str] = "fails or goes wrong on a base"
    name: ClassVar[str]
    """What the recipe calls it."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Where they are not peft's; the class's docstring says why."""
    sizes: ClassVar[Mapping[str, Size]] = {}
    """Fields that must fit the layers, and what the layers allow."""
    instead: ClassVar[Mapping[str, str]] = {}
    """Fields that, when given, take the place of another, which peft wants to be 0 then."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if not isabstract(cls) and "name" in cls.__dict__:
            cls.settings_class = _settings_class(cls)

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        fields = self.settings.model_dump(exclude={"name"}, exclude_none=True) | self.from_model(base)
        if not self.sizes:
            return self._made(fields)
        given = {field: fields.pop(field, None) for field in self.sizes}
        shapes = targeted_shapes(self._made(fields), base)
        sizes = fitted(self.sizes, given, self._usual_sizes(given), shapes)
        return self._made(fields | sizes | self._replaced(given))

    def from_model(self, base: Base) -> dict[str, Any]:
        """Fields that the model itself answers; none for most."""
        return {}

    def _usual_sizes(self, given: Mapping[str, int | None]) -> dict[str, int]:
        """The sizes to have where the layers allow it, for the fields to choose; 0 is peft's word for not used."""
        described = known_fields()[str(self.peft_type)]
        usual = {field: self.defaults.get(field, described[field]["default"]) for field in self.sizes}
        return {field: size for field, size in usual.items() if size and field not in self._replaced(given)}

    def _replaced(self, given: Mapping[str, int | None]) -> dict[str, int]:
        """The fields whose place a given one takes, at peft's word for not used."""
        return {other: 0 for field, other in self.instead.items() if given[field] and not given[other]}

    def _made(self, fields: Mapping[str, Any]) -> PeftConfig:
        return made(self.settings.name, str(self.peft_type), fields)

    def starts_as_base(self) -> bool:
        """Where the weights start as the method has them start."""
        begin = {field: value for field, value in self.settings.model_dump().items() if field.startswith("init_")}
        return self.identity_at_start and all(
            value == self.settings_class.model_fields[field].default for field, value in begin.items()
        )

    def attach(self, base: Base, total_steps: int) -> Module:
        try:
            model = super().attach(base, total_steps)
            if not any(reached(model)):
                kind = base.model.config.model_type
                raise UserError(f"{self.settings.name} finds nothing to train in a {kind} model", ("method",))
            return model
        except UserError as error:
            if base.model.device.type == "meta" and isinstance(error.__cause__, NotImplementedError):
                raise error.__cause__ from None  # it looks at weights that are not loaded: not the user's mistake
            raise

    def reach(self, model: Any) -> dict[str, Any]:
        config = model.peft_config["default"]
        sizes = {field: getattr(config, field) for field in self.sizes}
        return super().reach(model) | ({"sizes": sizes} if sizes else {})


def made(name: str, peft_type: str, fields: Mapping[str, Any]) -> PeftConfig:
    """peft's config of a tuner, told `fields` and nothing on the screen. Raises UserError where peft refuses them."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    configs: Mapping[Any, Any] = PEFT_TYPE_TO_CONFIG_MAPPING  # by a str enum, whose members equal their values
    try:
        config: PeftConfig = configs[peft_type](**fields)
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"{name}: {one_line(error)}", ("method",)) from error
    if hasattr(config, "progressbar"):
        config.progressbar = False
    return config


def reached(model: Module) -> Iterator[str]:
    """Names of the trainable parameters outside the head."""
    return (
        name for name, parameter in model.named_parameters() if parameter.requires_grad and not HEAD_PARTS.search(name)
    )


def _settings_class(method: type[Passthrough]) -> type[MethodSettings]:
    """The settings of `method`: peft's fields, their defaults and the first sentence of peft's words on each."""
    fields: dict[str, Any] = {"name": (Literal[method.name], method.name)}
    for field, described in known_fields()[str(method.peft_type)].items():
        if field not in OWN:
            fields[field] = _field(method, field, described)
    made = create_model(
        f"{method.__name__}Settings",
        __base__=PeftSettings,
        __module__=method.__module__,
        __doc__=f"Fields of peft's {method.peft_type} config, under its names.",
        **fields,
    )
    made.__qualname__ = (
        f"{method.__qualname__}.settings_class"  # where pickle finds it: a recipe goes to a bench's cells
    )
    return made


def _field(method: type[Passthrough], field: str, described: Mapping[str, Any]) -> tuple[Any, Any]:
    """A field's type and default for pydantic."""
    default, about = method.defaults.get(field, described["default"]), str(described["about"])
    choices = list(described.get("choices", ()))
    kinds = [KINDS[kind] for kind in described["types"]]
    if field == "bias":
        kinds, choices = [], ["none", "all", f"{str(method.peft_type).lower()}_only"]
    if field in method.sizes:
        usual = f", up to {default}" if default else ""
        default, about = None, f"{about}; by default the largest that fits the layers{usual}" if usual else about
    if default is None and None not in kinds:
        kinds.append(None)
    if choices:
        kinds.append(Literal[tuple(choices)])
    if bounds := _bounds(field, default, field in method.sizes):
        kinds = [Annotated[kind, Field(**bounds)] if kind in (int, float) else kind for kind in kinds]
    annotation: Any = Union[tuple(kinds)]  # noqa: UP007 - built at run time
    return Annotated[annotation, Field(description=f"{about}.")], default


def _bounds(field: str, default: Any, sized: bool) -> dict[str, Any]:
    """Limits that peft does not set: no dropout of everything, no rank and no scale of nothing."""
    if "dropout" in field and isinstance(default, float):
        return {"ge": 0, "lt": 1}
    return {"gt": 0} if sized or (field in COUNTS and default) else {}
