"""What is proved: which entries, on which architectures with which tasks."""

from __future__ import annotations

from typing import Any

from peftkit.methods import METHODS

TEXT_TASKS = ("text-classification", "token-classification", "question-answering")
PAIRS: tuple[tuple[str, str], ...] = (
    *((kind, task) for kind in ("bert", "roberta", "deberta-v2") for task in (*TEXT_TASKS, "multiple-choice")),
    *((kind, task) for kind in ("gpt2", "llama", "qwen3") for task in (*TEXT_TASKS, "text-generation")),
    *(("t5", task) for task in (*TEXT_TASKS, "text2text-generation")),
    *(("bart", task) for task in ("text-classification", "question-answering", "text2text-generation")),
    ("vit", "image-classification"),
)
"""Architecture and task: every head that transformers has a class for."""
LANGUAGE_MODEL_HEADS = {"text-generation": "AutoModelForCausalLM", "text2text-generation": "AutoModelForSeq2SeqLM"}
"""Tasks whose head a base brings along; the others' bases are saved without one."""
VARIANTS: dict[str, dict[str, Any]] = {
    "lora all-linear": {"name": "lora", "target_modules": "all-linear"},
    "lora dora": {"name": "lora", "use_dora": True},
    "lora rslora": {"name": "lora", "use_rslora": True},
    "lora pissa": {"name": "lora", "init_lora_weights": "pissa"},
    "lora olora": {"name": "lora", "init_lora_weights": "olora"},
    "lora eva": {"name": "lora", "init_lora_weights": "eva"},
    "lora loftq": {"name": "lora", "init_lora_weights": "loftq"},
    "bottleneck houlsby": {"name": "bottleneck", "variant": "houlsby"},
    "bottleneck parallel": {"name": "bottleneck", "variant": "parallel"},
    "bottleneck compacter": {"name": "bottleneck", "phm_dim": 2},
}
"""Settings that change what is computed so much that they are proved by themselves."""
NEEDED: dict[str, dict[str, Any]] = {"trainable-tokens": {"token_indices": list(range(5, 65))}}
"""What a method must be told beside its name, for the toys: all their words. No part of what the table is asked by."""
LEFT_OUT = ("peft",)
"""No method of its own: tuners of other packages by their names."""
ENTRIES: dict[str, dict[str, Any]] = {
    title: settings
    for name in METHODS
    if name not in LEFT_OUT
    for title, settings in {
        name: {"name": name},
        **{title: settings for title, settings in VARIANTS.items() if settings["name"] == name},
    }.items()
}
"""The table's rows by title: every method at its defaults, its variants after it."""
