"""What a method's docstring says, part by part: the only place where it is written."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

PARTS = ("Kind", "Formula", "Parameters", "Paper", "Use it", "Not", "Defaults", "Learning rate")
"""What every method says after its idea, a paragraph's line or lines each, in this order."""
KINDS = {
    "baseline": "Baselines",
    "low-rank": "Low-rank updates",
    "structured": "Updates of another structure",
    "orthogonal": "Rotations and reflections",
    "scaling": "Factors",
    "selective": "Weights of the base itself",
    "bottleneck": "Small networks in the layers",
    "prompt": "Virtual tokens",
    "other": "Tuners without an entry here",
}
"""Headings of the page, in its order; a method's Kind is one of these words."""
_LABEL = re.compile(rf"^({'|'.join(PARTS)}|Variant [^\s:]+): ", re.MULTILINE)


@dataclass(frozen=True)
class Description:
    """A docstring taken apart: the idea before the first part, the parts of PARTS, and variants by name."""

    idea: str
    parts: dict[str, str]
    variants: dict[str, str]


def described(method: type) -> Description:
    """The parts of a method's docstring, each on one line.

    Raises:
        ValueError: a part of PARTS is missing, empty, twice or out of order, or the kind is none of KINDS.
    """
    text = inspect.cleandoc(method.__doc__ or "")
    idea, *rest = _LABEL.split(text)
    found = [(label, _one_line(said)) for label, said in zip(rest[::2], rest[1::2], strict=True)]
    labels = tuple(label for label, _ in found if label in PARTS)
    if labels != PARTS or not idea.strip() or not all(said for _, said in found):
        raise ValueError(f"{method.__name__}: its docstring has an idea and then {', '.join(PARTS)}; found {labels}")
    parts = dict(pair for pair in found if pair[0] in PARTS)
    if parts["Kind"] not in KINDS:
        raise ValueError(f"{method.__name__}: its kind is one of {', '.join(KINDS)}; found {parts['Kind']}")
    variants = {label.removeprefix("Variant "): said for label, said in found if label not in PARTS}
    return Description(_one_line(idea), parts, variants)


def _one_line(text: str) -> str:
    return " ".join(text.split())
