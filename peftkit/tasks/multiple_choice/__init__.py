"""Multiple choice: a question, any number of choices, one of them right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from peftkit.contracts import Batch, Example, Prediction, Reading, Row, Task, TaskSettings
from peftkit.errors import RowError, UserError, suggest
from peftkit.examples import collate_tokens
from peftkit.tasks.multiple_choice.choices import AnswerIs, Choices, Question
from peftkit.tasks.multiple_choice.head import Head
from peftkit.tasks.multiple_choice.likelihood import Likelihood, Normalization, placeholders
from peftkit.tasks.multiple_choice.scoring import Scoring

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

PROMPT = "Question: {question}\nAnswer: {choice}"


class MultipleChoiceSettings(TaskSettings):
    """Which columns hold the question, its choices and the right one, and how choices are scored."""

    name: Literal["multiple-choice"] = "multiple-choice"
    question: str = "question"
    """Column of the question, or of what a choice goes on from."""
    context: str | None = None
    """Column of a text that the question is about."""
    choices: str = "choices"
    """Column of the choices: a list of texts, or ``{"text": […], "label": ["A", …]}``; rows may differ in number."""
    answer: str = "answer"
    """Column of the right choice."""
    answer_is: AnswerIs | None = None
    """What the answer's cells hold: an index from 0, a choice's text, or its label. By default a number is an index;
    text is a label where choices have labels, else a choice's text or an index in digits; both at once is refused."""
    scoring: Literal["head", "likelihood"] = "head"
    """A classification head on every pair of question and choice, or the likelihood of the choice after the question,
    for causal language models."""
    normalization: Normalization = "bytes"
    """With likelihood, what a choice's log-likelihood is divided by before choices are compared, in training too: its
    UTF-8 bytes, its tokens, or nothing."""
    prompt: str | None = None
    """With likelihood, what the model reads: ``{question}``, ``{context}`` where there is one, and ``{choice}`` at the
    end; by default ``Question: {question}\\nAnswer: {choice}``, after the context and a line break."""

    @model_validator(mode="after")
    def _fits_the_scoring(self) -> Self:
        if self.scoring == "head":
            if self.prompt is not None or self.normalization != "bytes":
                raise ValueError("prompt and normalization are for scoring: likelihood")
            return self
        needed = ["question", "choice"] if self.context is None else ["context", "question", "choice"]
        given = placeholders(self.template)
        for name in given:
            if name not in needed:
                allowed = ", ".join(f"{{{one}}}" for one in needed)
                raise ValueError(f"prompt: {{{name}}} stands for nothing{suggest(name, needed)} (allowed: {allowed})")
        absent = [name for name in needed if name not in given]
        if absent or given.count("choice") > 1 or not self.template.endswith("{choice}"):
            missing = f"; {', '.join(f'{{{name}}}' for name in absent)} is missing" if absent else ""
            raise ValueError(f"prompt must end with its only {{choice}} and hold the question and the context{missing}")
        return self

    @property
    def template(self) -> str:
        """The prompt, given or by default."""
        return self.prompt or (PROMPT if self.context is None else "{context}\n" + PROMPT)


class MultipleChoice(Task):
    """Every choice of a row is one sequence; the row's loss is cross-entropy of the softmax over its own choices."""

    settings_class: ClassVar[type[TaskSettings]] = MultipleChoiceSettings
    settings: MultipleChoiceSettings

    def __init__(self, settings: MultipleChoiceSettings) -> None:
        super().__init__(settings)
        self.scoring: Scoring = (
            Head() if settings.scoring == "head" else Likelihood(settings.template, settings.normalization)
        )
        self.auto_class, self.adds_head = self.scoring.auto_class, self.scoring.adds_head
        self.peft_task_type = self.scoring.peft_task_type
        self.default_metrics, self.gives = self.scoring.metrics, self.scoring.gives

    def columns(self) -> Mapping[str, str]:
        context = {"context": self.settings.context} if self.settings.context else {}
        asked = {"question": self.settings.question, "choices": self.settings.choices}
        return {**context, **asked, "answer": self.settings.answer}

    def config(self) -> dict[str, Any]:
        return self.scoring.config()

    def equip(self, processor: Any, config: PreTrainedConfig) -> None:
        super().equip(processor, config)
        self.scoring.equip(processor, config)

    def encode(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[list[Example]]:
        assert max_length is not None
        column = self.settings.choices
        choices = [Choices.of(cell, row, column) for row, cell in enumerate(rows[column])]
        questions = self._texts(rows, "question", self.settings.question)
        contexts = self._texts(rows, "context", self.settings.context) if self.settings.context else [""] * len(choices)
        triples = zip(contexts, questions, choices, strict=True)
        read = [Question(context, question, cell.texts) for context, question, cell in triples]
        examples = self.scoring.encode(read, max_length)
        for row, answer in enumerate(rows.get(self.settings.answer, ())):
            examples[row]["labels"] = choices[row].right(answer, row, self.settings.answer_is)
        return [[example] for example in examples]

    def length(self, example: Example) -> int:
        return sum(map(len, example["input_ids"]))

    def collate(self, examples: Sequence[Example], augment: Random | None = None) -> Batch:
        """All choices of all rows as ``(choices, tokens)``; one label a row."""
        import torch

        inputs = set(self.processor.model_input_names)
        flat = [
            {name: values[place] for name, values in example.items() if name in inputs}
            for example in examples
            for place in range(len(example["input_ids"]))
        ]
        labels = torch.tensor([example["labels"] for example in examples]) if "labels" in examples[0] else None
        return replace(collate_tokens(flat, self.processor), labels=labels, examples=examples)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import cross_entropy

        assert batch.labels is not None
        return cross_entropy(self.scoring.scores(outputs, batch), batch.labels, reduction="sum")

    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        return self.scoring.read(outputs, batch)

    def join(self, row: Row, readings: Sequence[Reading]) -> Prediction:
        (reading,) = readings
        choices = Choices.of(row[self.settings.choices], 0, self.settings.choices)
        return {**reading, "choice": choices.texts[int(reading["label"])]}

    def reference(self, row: Row) -> str:
        choices = Choices.of(row[self.settings.choices], 0, self.settings.choices)
        return str(choices.right(row[self.settings.answer], 0, self.settings.answer_is))

    def row(self, line: str) -> dict[str, Any]:
        """JSON with the columns; or question and choices with tabs between them, where there is no context."""
        wanted = [column for setting, column in self.columns().items() if setting != "answer"]
        if line.lstrip().startswith("{"):
            try:
                found = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"not JSON ({error}): {line!r:.60}") from None
            if absent := [column for column in wanted if column not in found]:
                raise UserError(f"{', '.join(absent)} missing; this model reads JSON with {', '.join(wanted)}")
            return {column: found[column] for column in wanted}
        question, *choices = line.split("\t")
        if self.settings.context or len(choices) < 2:
            tabs = "" if self.settings.context else ", or the question and two or more choices with tabs between them"
            raise UserError(f"this model reads JSON with {', '.join(wanted)}{tabs}, given {line!r:.60}")
        return {self.settings.question: question, self.settings.choices: choices}

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        """``chance``: the accuracy of guessing, the mean of one over the number of choices."""
        return {"chance": fmean(1 / len(prediction["scores"]) for prediction in predictions)}

    def _texts(self, rows: Mapping[str, list[Any]], setting: str, column: str) -> list[str]:
        for number, cell in enumerate(rows[column]):
            if not isinstance(cell, str):
                told = f"column {column!r} holds {cell!r:.60}, which is not text"
                raise RowError(told, number, ("task", setting), f"column {column!r} does not hold text")
        return rows[column]
