"""The TASKS table: a new task is one file and one line here."""

from __future__ import annotations

from peftkit.contracts import Task
from peftkit.tasks.text_classification import TextClassification

TASKS: dict[str, type[Task]] = {
    "text-classification": TextClassification,
}
