"""The TASKS table: a new task is one file and one line here."""

from __future__ import annotations

from peftkit.contracts import Task
from peftkit.tasks.image_classification import ImageClassification
from peftkit.tasks.multiple_choice import MultipleChoice
from peftkit.tasks.question_answering import QuestionAnswering
from peftkit.tasks.text2text_generation import Summarization, Text2TextGeneration, Translation
from peftkit.tasks.text_classification import TextClassification
from peftkit.tasks.text_generation import TextGeneration
from peftkit.tasks.token_classification import TokenClassification

TASKS: dict[str, type[Task]] = {
    "multiple-choice": MultipleChoice,
    "text-classification": TextClassification,
    "token-classification": TokenClassification,
    "question-answering": QuestionAnswering,
    "image-classification": ImageClassification,
    "text-generation": TextGeneration,
    "text2text-generation": Text2TextGeneration,
    "summarization": Summarization,
    "translation": Translation,
}
