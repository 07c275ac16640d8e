"""Extractive question answering: the answer is a stretch of the context, or there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from peftkit.contracts import Batch, Example, Prediction, Reading, Row, Task, TaskSettings
from peftkit.errors import UserError
from peftkit.examples import collate_tokens
from peftkit.metrics.chinese_answers import cmrc_f1
from peftkit.metrics.question_answering import squad_f1
from peftkit.tasks.question_answering.answers import Answers, checked_text
from peftkit.tasks.question_answering.contexts import characters, context_windows, place_of
from peftkit.tasks.question_answering.spans import best_null_threshold, best_spans, merged, softmax

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedConfig

SHOWN = 5
"""Candidates that a prediction lists."""
WITH_NO_ANSWER = ("squad_has_answer_f1", "squad_no_answer_accuracy")
"""What is scored besides where training rows hold questions without an answer."""
Positive = Annotated[int, Field(gt=0, strict=True)]


class QuestionAnsweringSettings(TaskSettings):
    """Which columns hold question, context and answers, how contexts are cut, and which spans may be answers."""

    name: Literal["question-answering"] = "question-answering"
    question: str = "question"
    """Column of the question."""
    context: str = "context"
    """Column of the text that holds the answer."""
    answers: str = "answers"
    """Column of the answers as SQuAD has them, ``{text: […], answer_start: […]}``; empty lists for no answer."""
    stride: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Tokens that two windows of one context share; by default, and where a question leaves less room than this, 128,
    but at most half of what a window holds of the context."""
    max_answer_length: Positive = 30
    """Tokens of the longest answer that is given."""
    n_best: Positive = 20
    """Candidates that are kept of each window."""
    null_threshold: float | None = None
    """An answer is given where the best span's score minus the score of no answer is above this. By default it is
    chosen on the validation rows, by F1; without a training row that has no answer, an answer is always given."""


class QuestionAnswering(Task):
    """Two outputs a token say how well an answer begins and ends there (Devlin et al. 2019, arXiv:1810.04805, 4.2-4.3).

    A long context goes through the model in windows that overlap. A window that does not hold the whole answer is
    trained to point to the null place, as is every window of a question without an answer. Of a row's windows the best
    span counts, and the *lowest* score of no answer (run_squad.py, write_predictions).
    """

    settings_class: ClassVar[type[TaskSettings]] = QuestionAnsweringSettings
    auto_class = "AutoModelForQuestionAnswering"
    peft_task_type = "QUESTION_ANS"
    default_metrics = ("squad_exact_match", "squad_f1")
    gives = ("answer",)
    settings: QuestionAnsweringSettings
    threshold: float | None
    """What the margin has to exceed for an answer; None where an answer is always given."""

    def __init__(self, settings: QuestionAnsweringSettings) -> None:
        super().__init__(settings)
        self.answers = Answers(settings.answers)
        self._take(unanswerable=False)

    def columns(self) -> Mapping[str, str]:
        settings = self.settings
        return {"question": settings.question, "context": settings.context, "answers": settings.answers}

    def learn(self, rows: Dataset) -> None:
        self._take(any(map(self.answers.none_in, rows[self.settings.answers])))

    def restore(self, config: Mapping[str, Any]) -> None:
        self._take(bool(config.get("unanswerable")))
        if self.calibrated:
            self.threshold = config.get("null_threshold", self.threshold)

    def config(self) -> dict[str, Any]:
        chosen = {} if self.threshold is None else {"null_threshold": self.threshold}
        return {"unanswerable": self.unanswerable, **chosen}

    def equip(self, processor: Any, config: PreTrainedConfig) -> None:
        super().equip(processor, config)
        if not processor.is_fast:
            told = f"{type(processor).__name__} does not say which characters its tokens stand for"
            raise UserError(f"{told}: question-answering needs a fast tokenizer (tokenizer.json)", ("model", "name"))

    # --- Rows to examples to batches

    def encode(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[list[Example]]:
        assert max_length is not None
        asked, given = self.settings.question, self.settings.context
        questions = [checked_text(cell, asked, "question", row).lstrip() for row, cell in enumerate(rows[asked])]
        contexts = [checked_text(cell, given, "context", row) for row, cell in enumerate(rows[given])]
        found = context_windows(self.processor, questions, contexts, max_length, self.settings.stride)
        for row, cell in enumerate(rows.get(self.settings.answers, ())):
            _label(found[row], self.answers.checked(cell, contexts[row], row))
        return found

    def collate(self, examples: Sequence[Example], augment: Random | None = None) -> Batch:
        return collate_tokens(examples, self.processor)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Half the sum of the cross-entropies of start and end, over the tokens that are not padding.

        Its mean over windows is transformers' own loss, where nothing is padded: transformers lets padding take part.
        """
        from torch.nn.functional import cross_entropy

        assert batch.labels is not None
        padding = _places(batch, lambda example: [True] * self.length(example)).logical_not()
        parts = [
            cross_entropy(logits.float().masked_fill(padding, float("-inf")), places, reduction="sum")
            for logits, places in zip((outputs.start_logits, outputs.end_logits), batch.labels.unbind(1), strict=True)
        ]
        return (parts[0] + parts[1]) / 2

    def supervised(self, batch: Batch) -> int:
        """Windows."""
        return 0 if batch.labels is None else len(batch.examples)

    # --- Predictions

    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        """``spans`` as start and end in characters and score, best first, and ``null``, the score of no answer."""
        import torch

        start, end = outputs.start_logits.float(), outputs.end_logits.float()
        allowed = _places(batch, _solid)
        spans = best_spans(start, end, allowed, self.settings.max_answer_length, self.settings.n_best)
        null = torch.tensor([[example["null"]] for example in batch.examples], device=start.device)
        scores = (start.gather(1, null) + end.gather(1, null)).flatten().tolist()
        readings: list[Reading] = []
        for example, found, score in zip(batch.examples, spans, scores, strict=True):
            (starts, ends), first = characters(example), example["first"]
            in_characters = [[starts[i - first], ends[j - first], value] for i, j, value in found]
            readings.append({"null": score, "spans": in_characters})
        return readings

    def calibrate(self, rows: Iterable[Row], readings: Sequence[Sequence[Reading]], references: Sequence[Any]) -> None:
        """Chooses the threshold of no answer by the mean F1 of the rows: cmrc_f1 where it is scored, else squad_f1."""
        measure = cmrc_f1 if "cmrc_f1" in self.metrics else squad_f1
        found = [self.join(row, of_row) for row, of_row in zip(rows, readings, strict=True)]
        answered = [
            measure([prediction["n_best"][0]], [reference])
            for prediction, reference in zip(found, references, strict=True)
        ]
        silent = [measure([{"answer": ""}], [reference]) for reference in references]
        self.threshold = best_null_threshold([prediction["margin"] for prediction in found], answered, silent)

    def join(self, row: Row, readings: Sequence[Reading]) -> Prediction:
        context = row[self.settings.context]
        spans = merged((reading["spans"] for reading in readings), self.settings.n_best)
        null = min(reading["null"] for reading in readings)
        margin = spans[0][2] - null
        silent = self.threshold is not None and margin <= self.threshold
        scores = [score for *_, score in spans] + ([] if self.threshold is None else [null])
        shares = softmax(scores)
        candidates = [
            {"answer": context[start:end], "score": share, "start": start, "end": end}
            for (start, end, _), share in zip(spans, shares, strict=False)
        ]
        none = {"answer": "", "score": shares[-1], "start": None, "end": None}
        chosen = none if silent else candidates[0]
        return {**chosen, "null_score": null, "margin": margin, "n_best": candidates[:SHOWN]}

    def reference(self, row: Row) -> list[str]:
        """The acceptable answers, none where there is none."""
        return self.answers.texts(row[self.settings.answers])

    def row(self, line: str) -> dict[str, Any]:
        """A JSON object with question and context, or both on a line with a tab between."""
        names = (self.settings.question, self.settings.context)
        try:
            given = json.loads(line)
        except ValueError:
            given = None
        if isinstance(given, dict) and set(names) <= given.keys():
            return {name: given[name] for name in names}
        question, tab, context = line.partition("\t")
        if isinstance(given, dict) or not tab:
            wanted = f"JSON with {names[0]!r} and {names[1]!r}, or both with a tab between"
            raise UserError(f"this model reads a question and its context: write {wanted}, given {line!r:.60}")
        return dict(zip(names, (question, context), strict=True))

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        """How many questions have an answer and how many got one, and the threshold where there is one."""
        counts = {
            "questions": len(references),
            "with_answer": sum(map(bool, references)),
            "answered": sum(bool(prediction["answer"]) for prediction in predictions),
        }
        return counts if self.threshold is None else {**counts, "null_threshold": self.threshold}

    # --- Parts of the above

    def _take(self, unanswerable: bool) -> None:
        """Takes whether training rows hold questions without an answer; the threshold is 0 until it is chosen."""
        fixed = self.settings.null_threshold
        self.unanswerable = unanswerable
        self.calibrated = unanswerable and fixed is None
        self.threshold = 0.0 if self.calibrated else fixed
        self.default_metrics = (*type(self).default_metrics, *(WITH_NO_ANSWER if unanswerable else ()))


def _label(windows: Sequence[Example], answer: tuple[int, int] | None) -> None:
    """The places of the answer's first and last token, twice the null place where the window does not hold it whole."""
    places = [None if answer is None else place_of(window, *answer) for window in windows]
    for window, place in zip(windows, places, strict=True):
        window["labels"] = list(place or (window["null"], window["null"]))
    if answer is not None and not any(places):
        windows[0]["cut"] = True


def _solid(example: Example) -> list[bool]:
    """Of the places up to the last token of the context: which hold characters of it that are no blanks."""
    return [False] * example["first"] + [width > 0 for width in example["offsets"][1::2]]


def _places(batch: Batch, which: Callable[[Example], list[bool]]) -> Tensor:
    """What `which` says of the first places of each example, ``(examples, tokens)``; False after them."""
    import torch

    ids = batch.inputs["input_ids"]
    rows = [which(example) for example in batch.examples]
    return torch.tensor([row + [False] * (ids.shape[1] - len(row)) for row in rows], device=ids.device)
