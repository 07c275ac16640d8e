"""Short forms: ``method: lora`` says the same as ``method: {name: lora}``, ``quantization: 4bit`` as ``{bits: 4}``."""

from __future__ import annotations

from typing import Any

MAIN_KEY = {"model": "name", "method": "name", "task": "name", "data": "source"}
"""The key that a group's short form gives."""
QUANTIZATIONS: dict[str, dict[str, int] | None] = {"none": None, "8bit": {"bits": 8}, "4bit": {"bits": 4}}


def long_form(group: str, value: Any) -> Any:
    """`value` with its keys spelled out where it is a short form of `group`, else as it is."""
    if not isinstance(value, str):
        return value
    if group == "quantization":
        form = QUANTIZATIONS.get(value, value)
        return dict(form) if isinstance(form, dict) else form
    return {MAIN_KEY[group]: value} if group in MAIN_KEY else value


def short_form(group: str, value: Any) -> Any:
    """The short form that says all of `value`, else `value` as it is."""
    if group == "quantization":
        return next((name for name, form in QUANTIZATIONS.items() if form == value), value)
    if isinstance(value, list):
        return [short_form(group, part) for part in value]  # a mixture of methods
    if group in MAIN_KEY and list(value) == [MAIN_KEY[group]] and isinstance(value[MAIN_KEY[group]], str):
        return value[MAIN_KEY[group]]
    return value
