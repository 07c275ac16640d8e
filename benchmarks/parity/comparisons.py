"""What is compared: data, task, sizes and settings, the same for both sides."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from trainer_side import Settings

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SEEDS = (0, 1, 2)
STEPS = 60


@dataclass(frozen=True)
class Comparison:
    """What is trained on both sides. Numbers of rows leave a smaller last batch, and a second epoch begins."""

    name: str
    task: str
    """Name in the recipe and in the table of guides."""
    data: str
    metric: str
    settings: Settings
    """Its model is a hub name, or a folder below `models`."""
    train_rows: int
    test_rows: int
    options: dict[str, Any] = field(default_factory=dict)
    """The recipe's task, beside its name."""
    columns: dict[str, str] = field(default_factory=dict)
    """Columns that are renamed: old name, new name."""
    unpadded: bool = False
    """Whether contexts are cut so that no example is padded."""


def settings(learning_rate: float, batch_size: int, max_length: int, model: str = MINILM) -> Settings:
    """Settings of an encoder, or of a Llama."""
    targets = ("query", "value") if model == MINILM else ("q_proj", "v_proj")
    return Settings(model, targets, STEPS, batch_size, learning_rate, max_length)


COMPARISONS = (
    Comparison("text-classification", "text-classification", "banking77", "accuracy", settings(1e-2, 16, 64), 700, 300),
    Comparison(
        "text-classification, pairs",
        "text-classification",
        "fever_lite",
        "accuracy",
        settings(5e-3, 16, 64),
        600,
        200,
        {"text_pair": "text_pair"},
        {"sentence2": "text", "sentence1": "text_pair"},
    ),
    Comparison(
        "token-classification", "token-classification", "fin_ner", "entity_f1", settings(5e-3, 16, 128), 600, 300
    ),
    Comparison(
        "question-answering",
        "question-answering",
        "squad_v1",
        "squad_f1",
        replace(settings(5e-3, 8, 160), stride=64),
        300,
        150,
        unpadded=True,
    ),
    Comparison(
        "question-answering, padded",
        "question-answering",
        "squad_v1",
        "squad_f1",
        replace(settings(5e-3, 8, 96), stride=32),
        300,
        150,
    ),
    Comparison(
        "text-generation",
        "text-generation",
        "e2e_nlg",
        "perplexity",
        settings(5e-3, 16, 192, "tinystories-656k"),
        600,
        300,
        {"separator": "\n"},
    ),
)
