"""Choices scored by a classification head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Batch, Example, Reading
from peftkit.errors import RowError, UserError
from peftkit.tasks.multiple_choice.choices import Question
from peftkit.tasks.multiple_choice.scoring import SCORING, Scoring, by_row, highest, too_long

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


class Head(Scoring):
    """A classification head with one output scores each pair of question and choice; the highest is taken.

    The numbers are those of transformers' models for multiple choice (``BertForMultipleChoice``), which flatten choices
    in the same way; but every architecture that classifies can do it. The config says
    ``multi_label_classification``, each pair right or not: transformers takes a single output for regression where the
    config says nothing, and refuses ``single_label_classification`` for it. The loss is ours.
    """

    auto_class = "AutoModelForSequenceClassification"
    adds_head = True
    peft_task_type = "SEQ_CLS"
    metrics = ("accuracy",)
    gives = ("label",)
    parted: bool
    """Whether the tokenizer sets a token between the two texts of a pair."""
    ends: tuple[int, int] | None = None
    """The end token that an encoder-decoder's head looks for, and how many of it a pair has."""

    def config(self) -> dict[str, Any]:
        one = {"num_labels": 1, "id2label": {0: "choice"}, "label2id": {"choice": 0}}
        return {**one, "problem_type": "multi_label_classification"}

    def equip(self, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
        self.tokenizer = tokenizer
        self.parted = tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False)
        if config.is_encoder_decoder:  # BART and T5 pool at the last end token, and want equally many in every row
            end = config.eos_token_id
            self.ends = end, tokenizer("a", "b")["input_ids"].count(end)
            if not self.ends[1]:
                raise UserError(
                    f"the tokenizer sets no end token, but the head of {config.model_type} reads it", SCORING
                )

    def encode(self, questions: Sequence[Question], max_length: int) -> list[Example]:
        owners = [(row, place) for row, question in enumerate(questions) for place in range(len(question.choices))]
        firsts = [f"{questions[row].context} {questions[row].question}".strip() for row, _ in owners]
        space = "" if self.parted else " "
        seconds = [space + questions[row].choices[place] for row, place in owners]
        found = self.tokenizer(firsts, seconds, return_attention_mask=False, verbose=False)
        pairs = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
        examples: list[Example] = [{name: [] for name in found} for _ in questions]
        for (row, place), first, second, pair in zip(owners, firsts, seconds, pairs, strict=True):
            if len(pair["input_ids"]) > max_length:
                pair = self._cut(first, second, max_length, row, place)
                examples[row]["cut"] = True
            if self.ends and pair["input_ids"].count(self.ends[0]) != self.ends[1]:
                kind = f"a text holds the model's end token {self.tokenizer.convert_ids_to_tokens(self.ends[0])!r}"
                raise RowError(f"choice {place}: {kind}", row, ("task", "question"), kind)
            for name, value in pair.items():
                examples[row][name].append(value)
        return examples

    def scores(self, outputs: Any, batch: Batch) -> Tensor:
        return by_row(outputs.logits.float()[:, 0], batch)

    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        readings = []
        for row, example in zip(self.scores(outputs, batch).softmax(-1).tolist(), batch.examples, strict=True):
            scores = row[: len(example["input_ids"])]
            readings.append({"label": highest(scores), "score": max(scores), "scores": scores})
        return readings

    def _cut(self, first: str, second: str, max_length: int, row: int, place: int) -> dict[str, Any]:
        """The pair with the beginning of its first text left out: the end of the question and the choice stay."""
        taken = len(self.tokenizer(second, add_special_tokens=False)["input_ids"])
        taken += self.tokenizer.num_special_tokens_to_add(pair=True)
        if taken >= max_length:
            raise too_long(taken, max_length, row, place)
        with _cutting_left(self.tokenizer):
            return dict(
                self.tokenizer(
                    first, second, truncation="only_first", max_length=max_length, return_attention_mask=False
                )
            )


@contextmanager
def _cutting_left(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    side = tokenizer.truncation_side
    tokenizer.truncation_side = "left"
    try:
        yield
    finally:
        tokenizer.truncation_side = side
