"""The nouns of peftkit as small abstract classes: read this first.

A recipe goes in, a record comes out. Between them a `Method` makes a base model trainable, a `Task` says what is
learnt and how predictions are read back, a `Metric` turns predictions into a score, a `Probe` watches the run and
gives a cost.
Nothing here imports torch: types of other libraries are named for the reader and the type checker only.
"""

from peftkit.contracts.method import Base, Factors, Hook, Method, MethodSettings
from peftkit.contracts.metric import Direction, Metric
from peftkit.contracts.probe import Probe, Step, Watcher
from peftkit.contracts.rows import IGNORED, PLACE, ROW_NUMBER, Batch, Example, File, Prediction, Reading, Row
from peftkit.contracts.settings import Settings
from peftkit.contracts.task import Task, TaskSettings

__all__ = [
    "IGNORED",
    "PLACE",
    "ROW_NUMBER",
    "Base",
    "Batch",
    "Direction",
    "Example",
    "Factors",
    "File",
    "Hook",
    "Method",
    "MethodSettings",
    "Metric",
    "Prediction",
    "Probe",
    "Reading",
    "Row",
    "Settings",
    "Step",
    "Task",
    "TaskSettings",
    "Watcher",
]
