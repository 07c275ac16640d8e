"""Rows on their way through the model: examples, batches, readings, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

Row = Mapping[str, Any]
ROW_NUMBER = "__row__"
"""A column beside the data's own: the row's number at the source, from 1, for whoever must tell which row is wrong."""
Example = dict[str, Any]
"""What goes through the model at a time, as JSON data: model inputs by name, ``labels``, and what reading needs."""
PLACE = "place"
"""The key of an example under which a file's place stands: not content, so it counts in no fingerprint."""
Reading = dict[str, Any]
"""What the model's outputs say of one example, as plain data."""
Prediction = Mapping[str, Any]
"""What the model says of one row, as plain data for the record, the metrics and `predict`."""
IGNORED = -100
"""The label that no loss looks at (torch's cross_entropy, ignore_index)."""


class File(TypedDict):
    """A cell that is a file, as a task finds it in a row."""

    place: str | None
    """Where it lies, whole: ``/data/cat/1.png`` or ``/data/images.zip::cat/1.png``."""
    sha256: str | None
    """Of its content."""
    fault: str | None
    """Why it cannot be read, where it cannot; the others are None then."""


@dataclass(frozen=True)
class Batch:
    """Examples that go through the model together."""

    inputs: dict[str, Any]
    """What the model sees, by name; tensors of ``(examples, tokens)`` for text. A bool is a switch of its forward."""
    labels: Tensor | None
    """In the shape that the task's loss wants; None where the rows have none."""
    examples: Sequence[Example]
    """What the tensors were made from, in their order."""
    padded_tokens: int
    """Tokens that go through the model, padding included."""

    def to(self, device: Any) -> Batch:
        """The same batch on `device`."""
        moved = {name: value if isinstance(value, bool) else value.to(device) for name, value in self.inputs.items()}
        return replace(self, inputs=moved, labels=None if self.labels is None else self.labels.to(device))
