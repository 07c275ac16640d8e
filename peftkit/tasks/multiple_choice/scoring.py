"""What the ways of scoring the choices of a question share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.contracts import Batch, Example, Reading
from peftkit.errors import Key, RowError
from peftkit.tasks.multiple_choice.choices import Question

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

SCORING: Key = ("task", "scoring")


class Scoring(ABC):
    """How the choices of a question become sequences, and the model's outputs a score for each."""

    auto_class: ClassVar[str]
    adds_head: ClassVar[bool]
    peft_task_type: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    gives: ClassVar[tuple[str, ...]]
    tokenizer: PreTrainedTokenizerBase

    def config(self) -> dict[str, Any]:
        """Fields of the model's config."""
        return {}

    @abstractmethod
    def equip(self, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
        """Takes the tokenizer and what it needs to know of the base. Raises UserError where they do not fit."""

    @abstractmethod
    def encode(self, questions: Sequence[Question], max_length: int) -> list[Example]:
        """An example a question: model inputs as lists with an entry for each choice. Raises RowError."""

    @abstractmethod
    def scores(self, outputs: Any, batch: Batch) -> Tensor:
        """A score for every choice, ``(rows, most choices)`` in float32, -inf where a row has fewer."""

    @abstractmethod
    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        """What the outputs say of each row: ``label`` is the index of the choice taken, as text."""


def by_row(scores: Tensor, batch: Batch) -> Tensor:
    """``(choices,)`` as ``(rows, most choices)``, -inf where a row has fewer."""
    from torch.nn.utils.rnn import pad_sequence

    parts = scores.split([len(example["input_ids"]) for example in batch.examples])
    return pad_sequence(list(parts), batch_first=True, padding_value=float("-inf"))


def highest(scores: Sequence[float]) -> str:
    """The index of the highest, the first of equals, as text."""
    return str(max(range(len(scores)), key=scores.__getitem__))


def too_long(taken: int, max_length: int, row: int, place: int) -> RowError:
    """The error for a choice beside which nothing of its question fits."""
    told = f"choice {place} takes {taken} tokens with the special ones and leaves the question no room in {max_length}"
    return RowError(
        told, row, ("training", "max_length"), f"a choice leaves the question no room in {max_length} tokens"
    )
