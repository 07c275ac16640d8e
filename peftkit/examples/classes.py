"""The classes of a task: learnt from the training rows, numbered, kept in the model's config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from peftkit.errors import Key, RowError, UserError, suggest


@dataclass(frozen=True)
class Classes:
    """Class names in the order of the model's outputs."""

    names: tuple[str, ...]

    @classmethod
    def learnt(cls, labels: Iterable[Any], key: Key) -> Classes:
        """Every class there is among `labels`: numbers in their order, then names in theirs.

        Raises:
            UserError: fewer than two.
        """
        names = tuple(sorted({str(label) for label in labels}, key=in_order))
        if len(names) < 2:
            held = f"one class only ({names[0]!r})" if names else "no class at all"
            raise UserError(f"the training rows hold {held}; two are needed", key)
        return cls(names)

    @classmethod
    def restored(cls, config: Mapping[str, Any]) -> Classes:
        """The classes that a trained model's config names."""
        return cls(tuple(name for _, name in sorted((int(i), name) for i, name in config["id2label"].items())))

    def config(self) -> dict[str, Any]:
        """Fields of the model's config."""
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": self.numbers,
        }

    def number(self, label: Any, row: int, key: Key) -> int:
        """The number of a row's class. Raises RowError for one that training has not seen."""
        name = str(label)
        if name not in self.numbers:
            known = f"{', '.join(self.names[:8])}{', …' if len(self.names) > 8 else ''}"
            told = f"class {name!r} is unknown in train{suggest(name, self.names)} (known: {known})"
            raise RowError(told, row, key, f"class {name!r} is unknown in train")
        return self.numbers[name]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number by name."""
        return {name: number for number, name in enumerate(self.names)}


def in_order(name: str) -> tuple[int, float, str]:
    """Sorts numbers in their order, then names in theirs."""
    return (0, float(name), name) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", name) else (1, 0.0, name)
