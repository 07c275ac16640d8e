"""Any tuner that a package has registered with peft, by its name there."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from peftkit.adapters import OWN, Adapter, made, refusal
from peftkit.contracts import Base, MethodSettings
from peftkit.errors import UserError, suggest, unknown

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch.nn import Module


class RegisteredSettings(MethodSettings):
    """Which tuner, where it comes from, and what it is told."""

    name: Literal["peft"] = "peft"
    peft_type: Annotated[str, Field(min_length=1)]
    """The name under which peft knows it."""
    package: str | None = None
    """The module to import so that peft knows it; none for peft's own tuners."""
    fields: dict[str, Any] = {}
    """Fields of its config, under its own names; checked when it is attached."""


class Registered(Adapter):
    """A tuner that another package registers with peft (`peft.utils.register_peft_method`), or one of peft's that has
    no entry of its own here. It is told what its `fields` say; the head, the targets, saving and loading are as for
    every other method.

    Kind: other
    Formula: the tuner's own.
    Parameters: the tuner's own.
    Paper: the tuner's own.
    Use it: for a method that peftkit has no entry for.
    Not: for one that it has: nothing is known here of what this one can be combined with, whether it works with
    quantization, or what it should learn at. The run's own checks say what went wrong.
    Defaults: the tuner's own.
    Learning rate: a start for a method that peftkit knows nothing of; give your own.
    """

    settings_class: ClassVar[type[MethodSettings]] = RegisteredSettings
    learning_rate: ClassVar[float] = 1e-3
    settings: RegisteredSettings

    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        import peftkit.tuners  # noqa: F401 - ours are peft's too

        self._import_package()
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        known: dict[str, Any] = {str(kind.value): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        kind = self.settings.peft_type
        if reason := refusal(kind):
            raise UserError(reason, ("method", "peft_type"))
        if kind not in known:
            where = f"{self.settings.package} registers no" if self.settings.package else "peft itself has no"
            raise UserError(f"{where} tuner of that name: {unknown('peft_type', kind, known)}", ("method", "peft_type"))
        if base.bits and (own := _own_methods().get(kind)) and not own.quantizable:
            told = f"{kind} {own.unquantizable} in {base.bits} bits; use quantization: none"
            raise UserError(told, ("method", "peft_type"))
        self._check_fields({field.name for field in dataclasses.fields(known[kind]) if field.init})
        if base.head and "modules_to_save" not in {field.name for field in dataclasses.fields(known[kind])}:
            raise UserError(
                f"{kind} leaves the task's head out of what it trains and saves; use a method that peftkit has an "
                "entry for, or a task without a head",
                ("method", "peft_type"),
            )
        config = made(f"peft ({kind})", kind, self.settings.fields)
        if config.is_prompt_learning:
            raise UserError(
                f"{kind} puts virtual tokens before the text, which a task has to know of; "
                "use prompt-tuning, p-tuning or prefix-tuning",
                ("method", "peft_type"),
            )
        return config

    def load(self, base: Base, folder: Path) -> Module:
        self._import_package()
        return super().load(base, folder)

    def _import_package(self) -> None:
        name = self.settings.package
        try:
            if name is not None:
                importlib.import_module(name)
        except Exception as error:  # whatever a stranger's module raises is told as what it is
            kind = type(error).__name__
            raise UserError(f"package {name!r} cannot be imported: {kind}: {error}", ("method", "package")) from error

    def _check_fields(self, allowed: set[str]) -> None:
        from peft import PeftConfig

        closed = {field.name for field in dataclasses.fields(PeftConfig)} | {*OWN}
        for field in self.settings.fields:
            if field in closed & allowed:
                raise UserError(f"peftkit sets {field} itself; leave it out", ("method", "fields", field))
            if field not in allowed:
                names = sorted(allowed - closed)
                raise UserError(
                    f"{self.settings.peft_type} has no field {field!r}{suggest(field, names)} "
                    f"(allowed: {', '.join(names)})",
                    ("method", "fields", field),
                )


def _own_methods() -> dict[str, type[Adapter]]:
    """The methods here that have a type of peft's for themselves, and know what it can be combined with."""
    found: dict[str, type[Adapter]] = {}
    waiting = Adapter.__subclasses__()
    while waiting:
        method = waiting.pop()
        waiting += method.__subclasses__()
        if method.peft_type is not None:
            found[method.peft_type] = method
    return found
