"""What tells the rows of one report apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peftkit.record import Record

ALWAYS_TOLD = (("model", "name"), ("task", "name"), ("data", "source"))
"""Where the rows of a report differ in one of these, every title says which it has."""


def titles(records: Sequence[Record]) -> list[str]:
    """One title a record: its own, the model, task and data source where these differ, and what else it takes.

    Records whose titles would be equal say every setting they give in which they differ, e.g.
    ``lora, training.learning_rate=0.001``; one that gives none of them keeps the defaults and says nothing.
    """
    told = [record.title for record in records]
    for group, key in ALWAYS_TOLD:
        names = _short_names([record.recipe.get(group, {}).get(key) for record in records])
        if len(set(names)) > 1:
            told = [f"{title}, {name}" if name else title for title, name in zip(told, names, strict=True)]
    settings = [dict(_flat(record.recipe)) for record in records]
    return [
        ", ".join([title, *_differing(own, [other for other, t in zip(settings, told, strict=True) if t == title])])
        for title, own in zip(told, settings, strict=True)
    ]


def plain(value: Any) -> str:
    """A setting as a recipe writes it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short_names(values: Sequence[Any]) -> list[str]:
    """``all-MiniLM-L6-v2`` for ``sentence-transformers/all-MiniLM-L6-v2``, where no two of the values end alike."""
    names = ["" if value is None else plain(value) for value in values]
    short = {name: name.rstrip("/").rpartition("/")[2] for name in names}
    count = Counter(short.values())
    return [short[name] if count[short[name]] == 1 else name for name in names]


def _differing(own: Mapping[str, str], alike: Sequence[Mapping[str, str]]) -> list[str]:
    return [
        f"{key}={value}"
        for key, value in own.items()
        if key != "seed" and any(other.get(key) != value for other in alike)
    ]


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", plain(value)
