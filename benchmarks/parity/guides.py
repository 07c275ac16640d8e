"""The tasks as transformers' documentation has them: tokenization, labels, collators and how predictions are read.

The loss is the model's own. Nothing is taken from peftkit but the metric function of question answering, so that one
definition scores both sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy
import torch
from peft import TaskType
from trainer_side import Features, Guided, Row, dataset
from transformers import DataCollatorForSeq2Seq, DataCollatorForTokenClassification, Trainer

IGNORED = -100


class TextClassification(Guided):
    """docs/source/en/tasks/sequence_classification.md, for a text or a pair of texts."""

    auto_class = "AutoModelForSequenceClassification"
    adapter: ClassVar[dict[str, Any]] = {"task_type": TaskType.SEQ_CLS}

    def find_classes(self, rows: Sequence[Row]) -> list[str]:
        return sorted({row["label"] for row in rows})

    def encode(self, rows: Sequence[Row]) -> Features:
        texts = [[row["text"] for row in rows]]
        if "text_pair" in rows[0]:
            texts.append([row["text_pair"] for row in rows])
        encoded = self.tokenizer(*texts, truncation=True, max_length=self.settings.max_length)
        return {**encoded, "labels": [self.classes.index(row["label"]) for row in rows]}

    def score(self, trainer: Trainer, rows: Sequence[Row]) -> float:
        """Accuracy."""
        found = trainer.predict(dataset(self.encode(rows)))
        return float((numpy.argmax(found.predictions, axis=-1) == found.label_ids).mean())


class TokenClassification(Guided):
    """docs/source/en/tasks/token_classification.md: a word's first token has its tag, the others are ignored."""

    auto_class = "AutoModelForTokenClassification"
    adapter: ClassVar[dict[str, Any]] = {"task_type": TaskType.TOKEN_CLS}

    def find_classes(self, rows: Sequence[Row]) -> list[str]:
        types = sorted({tag[2:] for row in rows for tag in row["tags"] if tag != "O"})
        return ["O", *(f"{letter}-{name}" for name in types for letter in "BI")]

    def encode(self, rows: Sequence[Row]) -> Features:
        words = [row["tokens"] for row in rows]
        limit = self.settings.max_length
        encoded = self.tokenizer(words, truncation=True, max_length=limit, is_split_into_words=True)
        labels = []
        for number, row in enumerate(rows):
            previous = None
            labels.append([])
            for word in encoded.word_ids(number):
                begins = word is not None and word != previous
                labels[-1].append(self.classes.index(row["tags"][word]) if begins else IGNORED)
                previous = word
        return {**encoded, "labels": labels}

    def collator(self) -> Any:
        return DataCollatorForTokenClassification(self.tokenizer)

    def score(self, trainer: Trainer, rows: Sequence[Row]) -> float:
        """F1 of whole entities (seqeval, strict), over the tags of the words' first tokens."""
        from seqeval.metrics import f1_score
        from seqeval.scheme import IOB2

        found = trainer.predict(dataset(self.encode(rows)))
        pairs = [
            [(self.classes[tag], self.classes[right]) for tag, right in zip(*row, strict=True) if right != IGNORED]
            for row in zip(numpy.argmax(found.predictions, axis=-1), found.label_ids, strict=True)
        ]
        tags = [[tag for tag, _ in row] for row in pairs]
        return float(f1_score([[right for _, right in row] for row in pairs], tags, mode="strict", scheme=IOB2))


class QuestionAnswering(Guided):
    """examples/pytorch/question-answering/run_qa.py: windows over the context, the best span of all a row's windows.

    peft's own wrapper for this task (``TaskType.QUESTION_ANS``) takes ``token_type_ids`` and does not pass them on, so
    the model cannot tell question from context; without a task type they arrive, and the head is named by hand.
    """

    auto_class = "AutoModelForQuestionAnswering"
    labels: ClassVar[list[str]] = ["start_positions", "end_positions"]
    adapter: ClassVar[dict[str, Any]] = {"task_type": None, "modules_to_save": ["qa_outputs"]}
    n_best = 20
    max_answer_length = 30

    def windows(self, rows: Sequence[Row]) -> Any:
        """The tokenizer's output for all windows of all rows."""
        return self.tokenizer(
            [row["question"].lstrip() for row in rows],
            [row["context"] for row in rows],
            truncation="only_second",
            max_length=self.settings.max_length,
            stride=self.settings.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    def encode(self, rows: Sequence[Row]) -> Features:
        encoded = self.windows(rows)
        owners, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
        places = [
            self._place(encoded, number, offsets[number], rows[owner]["answers"]) for number, owner in enumerate(owners)
        ]
        return {**encoded, "start_positions": [p[0] for p in places], "end_positions": [p[1] for p in places]}

    def _place(self, encoded: Any, number: int, offsets: Any, answers: Mapping[str, list[Any]]) -> tuple[int, int]:
        """The answer's first and last token in a window; the CLS token where the window does not hold all of it."""
        context = [place for place, part in enumerate(encoded.sequence_ids(number)) if part == 1]
        start = answers["answer_start"][0]
        end = start + len(answers["text"][0])
        if not context or offsets[context[0]][0] > start or offsets[context[-1]][1] < end:
            cls = encoded["input_ids"][number].index(self.tokenizer.cls_token_id)
            return cls, cls
        first = max(place for place in context if offsets[place][0] <= start)
        last = min(place for place in context if offsets[place][1] >= end)
        return first, last

    def score(self, trainer: Trainer, rows: Sequence[Row]) -> float:
        """SQuAD F1 of the best spans (postprocess_qa_predictions in utils_qa.py)."""
        from peftkit.metrics.question_answering import squad_f1

        encoded = self.windows(rows)
        starts, ends = trainer.predict(dataset(self.encode(rows))).predictions[:2]
        best: list[tuple[float, str]] = [(-math.inf, "")] * len(rows)
        for number, owner in enumerate(encoded["overflow_to_sample_mapping"]):
            context = {place for place, part in enumerate(encoded.sequence_ids(number)) if part == 1}
            offsets = encoded["offset_mapping"][number]
            for start in numpy.argsort(starts[number])[: -self.n_best - 1 : -1].tolist():
                for end in numpy.argsort(ends[number])[: -self.n_best - 1 : -1].tolist():
                    fits = {start, end} <= context and start <= end < start + self.max_answer_length
                    score = float(starts[number][start] + ends[number][end])
                    if fits and score > best[owner][0]:
                        best[owner] = score, rows[owner]["context"][offsets[start][0] : offsets[end][1]]
        return squad_f1([{"answer": text} for _, text in best], [row["answers"]["text"] for row in rows])


class TextGeneration(Guided):
    """docs/source/en/tasks/language_modeling.md, with rows of prompt and completion: the completion is learnt."""

    auto_class = "AutoModelForCausalLM"
    adapter: ClassVar[dict[str, Any]] = {"task_type": TaskType.CAUSAL_LM}

    def encode(self, rows: Sequence[Row]) -> Features:
        self.tokenizer.padding_side = "right"
        features: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": []}
        for row in rows:
            prompt = self.tokenizer(row["prompt"] + "\n")["input_ids"]
            completion = self.tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
            ids = [*prompt, *completion, self.tokenizer.eos_token_id][: self.settings.max_length]
            features["input_ids"].append(ids)
            features["attention_mask"].append([1] * len(ids))
            features["labels"].append([IGNORED] * len(prompt) + ids[len(prompt) :])
        return features

    def collator(self) -> Any:
        return DataCollatorForSeq2Seq(self.tokenizer)

    def score(self, trainer: Trainer, rows: Sequence[Row]) -> float:
        """Perplexity of the completions: exp of the mean over all their tokens, from the model's loss a batch."""
        total, tokens = 0.0, 0
        assert trainer.model is not None
        trainer.model.eval()
        for batch in trainer.get_eval_dataloader(dataset(self.encode(rows))):
            count = int((batch["labels"][:, 1:] != IGNORED).sum())
            with torch.no_grad():
                total += trainer.model(**batch).loss.item() * count
            tokens += count
        return math.exp(total / tokens)


TASKS: dict[str, type[Guided]] = {
    "text-classification": TextClassification,
    "token-classification": TokenClassification,
    "question-answering": QuestionAnswering,
    "text-generation": TextGeneration,
}
