"""The settings of a mixture: those of its parts, in the order in which the recipe lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from peftkit.contracts import MethodSettings
from peftkit.methods import METHODS

MIXTURE = "mixture"
"""Tells a mixture's settings from those of one method where pydantic says where a mistake is; no name of a method."""

if TYPE_CHECKING:
    OneMethod = MethodSettings
else:

    def _name_of(value: Any) -> str | None:
        name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
        return name if isinstance(name, str) else None

    OneMethod = Annotated[
        Union[tuple(Annotated[entry.settings_class, Tag(name)] for name, entry in METHODS.items())],  # noqa: UP007
        Discriminator(_name_of),
        BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value),
    ]


class MixtureSettings(MethodSettings):
    """Two methods on one model, each with its own settings; in a recipe a list."""

    name: str
    """The names of the parts: ``lora+bitfit``."""
    parts: list[OneMethod] = Field(min_length=2)
    """The settings of each."""

    @model_validator(mode="before")
    @classmethod
    def _named_after_its_parts(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("parts"), list):
            names = [
                part.get("name") if isinstance(part, dict) else getattr(part, "name", part) for part in data["parts"]
            ]
            return {**data, "name": "+".join(map(str, names))}
        return data


def plain_data(settings: MethodSettings, **which: Any) -> Any:
    """A method's settings as plain JSON data with its name; a mixture's as the list of its parts', as in a recipe.

    `which` are pydantic's words for what to leave out (``exclude_defaults=True``).
    """
    if isinstance(settings, MixtureSettings):
        return [plain_data(part, **which) for part in settings.parts]
    return {"name": settings.name, **settings.model_dump(mode="json", **which)}
