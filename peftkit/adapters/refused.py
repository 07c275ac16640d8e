"""Tuners of peft that are no method here, and why: whoever asks for one is told, with what works instead."""

from __future__ import annotations

REFUSED: dict[str, str] = {
    "adaption-prompt": "peft leaves the task's head out of its adapters; use prefix-tuning",
    "cartridge": "it is a prefix that begins from a long text, which rows of a task do not have; use prefix-tuning",
    "cpt": "its prompt holds labelled examples, which rows of a task do not have, and peft runs it on language models "
    "alone; use prompt-tuning",
    "lily": "its router averages over all tokens of a batch (peft 0.21.2), so that what it says of a row hangs on the "
    "rows beside it; use lora",
    "multitask-prompt-tuning": "its prompts are told apart by the number of a task, and a recipe has one task; "
    "use prompt-tuning",
    "poly": "it mixes adapters by the number of a task, and a recipe has one task; use lora",
    "shadow": "its part in the last layer gets no gradient (peft 0.21.2), so that it would train less than it says; "
    "use lora",
    "xlora": "it mixes adapters that were trained before, and peft loses the task's head; use lora",
}
"""Reasons by name, spelled as methods are; a test holds every tuner of the installed peft to METHODS or to this."""


def refusal(name: str) -> str | None:
    """Why the tuner of that name, in peft's spelling or in ours, is no method here; None for all other names."""
    spelled = name.lower().replace("_", "-")
    reason = REFUSED.get(spelled)
    return None if reason is None else f"{spelled} is no method here: {reason}"
