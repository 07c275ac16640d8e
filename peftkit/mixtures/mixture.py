"""Two methods on one model as one method: to the rest of the program it is a method like any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftkit.adapters import Adapter
from peftkit.contracts import Base, Batch, Factors, Hook, Method, MethodSettings
from peftkit.errors import UserError
from peftkit.methods import METHODS
from peftkit.mixtures.pairs import attaching_order, unfit_for
from peftkit.mixtures.settings import MixtureSettings

if TYPE_CHECKING:
    from torch.nn import Module

PARTS_FOLDER = "parts"
"""Folder of a run in which each part's adapter has its own: ``parts/1-bitfit``, ``parts/2-lora``."""


class Mixture(Method):
    """Several adapters in one model, trained together, e.g. LoRA with BitFit.

    Parts are attached, saved and loaded one after the other: first what trains biases of the base, then the layers put
    into it, virtual tokens last (`attaching_order`); the last part brings the task's head. What the mixture can be
    combined with is what all of its parts can.

    There is one learning rate, the smallest of the parts' own: our choice. A part that wants a larger one learns more
    slowly at it, while a larger one can make the other part diverge.
    """

    settings_class: ClassVar[type[MethodSettings]] = MixtureSettings
    settings: MixtureSettings

    def __init__(self, settings: MethodSettings) -> None:
        assert isinstance(settings, MixtureSettings)
        super().__init__(settings)
        listed = [METHODS[part.name](part) for part in settings.parts]
        self.order = attaching_order(settings)
        """Place in the recipe's list, from 0, of each part in the order of attaching."""
        self.parts = [listed[place] for place in self.order]
        unquantizable = next((part.unquantizable for part in self.parts if not part.quantizable), self.unquantizable)
        vars(self).update(  # what other methods say in their class depends on the parts here
            learning_rate=min(part.learning_rate for part in self.parts),
            quantizable=all(part.quantizable for part in self.parts),
            unquantizable=unquantizable,
            checkpointable=all(part.checkpointable for part in self.parts),
            half_precision=all(part.half_precision for part in self.parts),
            mergeable=all(part.mergeable for part in self.parts),
            factored=all(part.factored for part in self.parts),
            identity_at_start=all(part.identity_at_start for part in self.parts),
        )

    def starts_as_base(self) -> bool:
        return all(part.starts_as_base() for part in self.parts)

    def attach(self, base: Base, total_steps: int) -> Module:
        from peftkit.mixtures.stacking import spelled_out, stack

        adapters = list(self._adapters())
        for number, adapter in enumerate(adapters):  # all of them, before the first changes the base
            with self._told_in_place(number):
                adapter.planned = spelled_out(adapter.plan(base, total_steps), base)
        for adapter in adapters[:-1]:
            assert adapter.planned is not None
            adapter.planned.modules_to_save = None

        def attach(number: int, adapter: Adapter, its_base: Base) -> Module:
            with self._told_in_place(number):
                return adapter.attach(its_base, total_steps)

        model: Module = stack(adapters, base, attach)
        return model

    def save(self, model: Module, folder: Path) -> None:
        from peftkit.mixtures.stacking import save_parts

        save_parts(model, self._folders(folder))

    def load(self, base: Base, folder: Path) -> Module:
        from peftkit.mixtures.stacking import stack

        folders = self._folders(folder)
        adapters = list(self._adapters())
        model: Module = stack(adapters, base, lambda number, adapter, its: adapter.load(its, folders[number]))
        return model

    def merged(self, model: Module) -> Module:
        from peftkit.mixtures.stacking import merge_parts

        base: Module = merge_parts(model)
        return base

    def initialize(self, model: Module, batches: Sequence[Batch]) -> None:
        for part, its_model in self._attached(model):
            part.initialize(its_model, batches)

    def factors(self, model: Module) -> Sequence[Factors]:
        return [factors for part, its_model in self._attached(model) for factors in part.factors(its_model)]

    def hooks(self, model: Module) -> Sequence[Hook]:
        return [hook for part, its_model in self._attached(model) for hook in part.hooks(its_model)]

    def virtual_tokens(self) -> int:
        return sum(part.virtual_tokens() for part in self.parts)

    def unfit(self, bits: Literal[4, 8] | None) -> str | None:
        alone = (reason for part in self.parts if (reason := part.unfit(bits)))
        return next(alone, None) or unfit_for(bits, [part.settings.name for part in self.parts])

    def objections(self, total_steps: int) -> Iterator[str]:
        for part in self.parts:
            yield from part.objections(total_steps)

    def reach(self, model: Module) -> dict[str, Any]:
        """The coverage of all parts together; ``targets_by_pattern`` has the modules of each by its method's name."""
        from peftkit.mixtures.stacking import reach_of_parts

        return reach_of_parts(model)

    def outcome(self, model: Module) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part, its_model in self._attached(model):
            found |= part.outcome(its_model)
        return found

    def _adapters(self) -> Iterator[Adapter]:
        """The parts, none of which is anything else than an adapter: recipes are held to that."""
        for part in self.parts:
            if not isinstance(part, Adapter):
                raise UserError(f"{part.settings.name} is no adapter and cannot be a part of a mixture", ("method",))
            yield part

    def _attached(self, model: Any) -> Iterator[tuple[Method, Module]]:
        """Each part with its own model."""
        from peftkit.mixtures.stacking import parts_of

        for part in parts_of(model):
            yield part.method, part.model

    def _folders(self, folder: Path) -> list[Path]:
        """The folder of each part, numbered in the order in which they have to be loaded."""
        names = [part.settings.name for part in self.parts]
        return [folder / PARTS_FOLDER / f"{number}-{name}" for number, name in enumerate(names, 1)]

    @contextmanager
    def _told_in_place(self, number: int) -> Iterator[None]:
        """Says of a mistake in which part of the recipe's list it is."""
        try:
            yield
        except UserError as error:
            if error.key[:1] == ("method",):
                error.key = ("method", self.order[number], *error.key[1:])
            raise
