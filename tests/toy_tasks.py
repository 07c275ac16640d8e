"""A toy of every task: a recipe's task, rows that a toy model can learn, and the toy model for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

from tests.conftest import WORDS, toy_rows

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Toy:
    """What the contract tests need to know of a task."""

    task: dict[str, Any]
    """The recipe's ``task``."""
    rows: Callable[[int, int], Rows]
    """So many rows, from an offset on; other offsets give other rows of the same kind."""
    spoiled: dict[str, Any]
    """Cells that make a row unreadable, laid over a good one."""
    refused: str
    """What the error for such a row says (a regular expression)."""
    kind: str = "bert"
    auto_class: str = "AutoModel"
    """The toy model of `tests.conftest.save_toy`."""
    training: dict[str, Any] = field(default_factory=dict)
    """Training settings that the toy needs to learn, laid over those of the tests."""
    learns: tuple[str, float] = ("accuracy", 0.6)
    """A metric, and what a trained toy reaches at least (or at most, where lower is better)."""


def classified(count: int, offset: int) -> Rows:
    """Texts of three classes."""
    return [dict(row) for row in toy_rows(count, offset=offset)]


def labelled(count: int, offset: int) -> Rows:
    """Texts with one or two labels."""
    rows = classified(count, offset)
    return [{**row, "label": [row["label"], "even"] if i % 2 == 0 else [row["label"]]} for i, row in enumerate(rows)]


def rated(count: int, offset: int) -> Rows:
    """Texts with a number, told by their class's words."""
    return [{**row, "label": float(row["label"][-1]) - 1} for row in classified(count, offset)]


def written(count: int, offset: int) -> Rows:
    """A word to write again, said twice among others: texts for encoder–decoders."""
    texts = ((f"word{i % 5}", f"word{10 + i * 7 % 20}") for i in range(offset, offset + count))
    return [{"text": f"{word} {other} {word}", "target": word} for word, other in texts]


def summed_up(count: int, offset: int) -> Rows:
    """Texts as `written`, each with two acceptable summaries."""
    return [{"text": row["text"], "summary": [row["target"], row["text"]]} for row in written(count, offset)]


def translated(count: int, offset: int) -> Rows:
    """Texts as `written`, between other columns."""
    return [{"source": row["text"], "target": row["target"]} for row in written(count, offset)]


def asked(count: int, offset: int) -> Rows:
    """Questions with two to four choices, the right one of them in words of its own kind."""
    rows = []
    for i in range(offset, offset + count):
        number = 2 + i % 3
        right = (i // 3) % number
        words = [
            [WORDS[(0 if place == right else 10 + 10 * (place % 2)) + (i + k) % 10] for k in range(2 + (i + place) % 3)]
            for place in range(number)
        ]
        question = " ".join(WORDS[40 + (i * 3 + k) % 20] for k in range(3 + i % 5))
        rows.append({"question": question, "choices": list(map(" ".join, words)), "answer": right})
    return rows


@cache
def pictures() -> Path:
    """A folder for pictures, one for the session."""
    return Path(mkdtemp(prefix="peftkit-toy-pictures-"))


def pictured(count: int, offset: int) -> Rows:
    """Pictures of several sizes, red, green or blue over noise, as files."""
    from PIL import Image

    rows = []
    for number in range(offset, offset + count):
        noise = Random(number)
        size = (12 + number % 9, 10 + number % 7)
        bright = [140 if channel == number % 3 else 60 for channel in range(3)]
        pixels = bytes(bright[place % 3] + noise.randrange(60) for place in range(3 * size[0] * size[1]))
        Image.frombytes("RGB", size, pixels).save(file := pictures() / f"{number}.png")
        rows.append({"image": str(file), "label": number % 3})
    return rows


def tagged(count: int, offset: int) -> Rows:
    """Such pictures with a list of labels: the colour, and whether the picture is large."""
    return [
        {**row, "label": [str(row["label"])] + ["large"] * (number % 9 > 4)}
        for number, row in enumerate(pictured(count, offset), offset)
    ]


def completed(count: int, offset: int) -> Rows:
    """Prompts whose completion is told by their class: its name, said twice."""
    rows = []
    for row in classified(count, offset):
        word = WORDS[50 + int(row["label"][-1])]
        rows.append({"prompt": row["text"], "completion": f"{word} {word}"})
    return rows


def named(count: int, offset: int) -> Rows:
    """Prompts whose completion is one of three labels."""
    return [{**row, "completion": row["completion"].split()[0]} for row in completed(count, offset)]


def long_texts(count: int, offset: int) -> Rows:
    """Texts of which some take more than one block of 32 tokens."""
    return [{"text": " ".join([row["text"]] * 3)} for row in classified(count, offset)]


def mentioning(count: int, offset: int) -> Rows:
    """Sentences of 6 to 18 words in which some words begin an entity and others go on with it, each by its own."""
    rows = []
    for i in range(offset, offset + count):
        tokens: list[str] = []
        tags: list[str] = []
        for k in range(2 + i * 2 % 5):
            kind, begin = (i + k) % 2, (i * 3 + k) % 5
            tokens += [WORDS[kind * 10 + begin], WORDS[kind * 10 + 5 + begin], WORDS[40 + (i + k * 7) % 20]]
            tags += [f"B-{'LOC' if kind else 'PER'}", f"I-{'LOC' if kind else 'PER'}", "O"]
        rows.append({"tokens": tokens, "tags": tags})
    return rows


def mentioning_ends(count: int, offset: int) -> Rows:
    """The same in IOBES, with parts of sentences as entities of one word."""
    ends = {"I-PER": "E-PER", "I-LOC": "E-LOC"}
    rows = mentioning(count, offset)
    return [
        {"tokens": [*row["tokens"], "word30"], "tags": [*(ends.get(tag, tag) for tag in row["tags"]), "S-MISC"]}
        for row in rows
    ]


def parsed(count: int, offset: int) -> Rows:
    """The same with a part of speech for every word."""
    parts = {"B-PER": "NOUN", "B-LOC": "VERB", "O": "DET"}
    return [
        {"tokens": row["tokens"], "tags": [parts.get(tag, "ADV") for tag in row["tags"]]}
        for row in mentioning(count, offset)
    ]


def located(count: int, offset: int) -> Rows:
    """Questions that a word of a class of its own answers; the context has one or two such words side by side."""
    rows = []
    for i in range(offset, offset + count):
        random = Random(i)
        words = random.choices(WORDS[10:58], k=random.randint(6, 18))
        answer = " ".join(random.choices(WORDS[:5], k=random.randint(1, 2)))
        words.insert(random.randint(0, len(words)), answer)
        context = " ".join(words)
        answers = {"text": [answer], "answer_start": [context.index(answer)]}
        rows.append({"question": "word58 word59", "context": context, "answers": answers})
    return rows


def partly_located(count: int, offset: int) -> Rows:
    """The same, every third question without an answer."""
    rows = located(count, offset)
    for row in rows[::3]:
        row["context"] = " ".join(word for word in row["context"].split() if word not in WORDS[:5])
        row["answers"] = {"text": [], "answer_start": []}
    return rows


TOYS: dict[str, Toy] = {
    "text-classification": Toy(
        task={"name": "text-classification"},
        rows=classified,
        spoiled={"label": "class9"},
        refused="class 'class9' is unknown in train",
    ),
    "text-classification, multi-label": Toy(
        task={"name": "text-classification", "problem_type": "multi_label_classification"},
        rows=labelled,
        spoiled={"label": ["class9"]},
        refused="class 'class9' is unknown in train",
        learns=("micro_f1", 0.6),
    ),
    "text-classification, regression": Toy(
        task={"name": "text-classification", "problem_type": "regression"},
        rows=rated,
        spoiled={"label": float("inf")},
        refused="holds inf, which is not a number",
        learns=("pearson", 0.6),
    ),
    "text2text-generation, bart": Toy(
        task={"name": "text2text-generation", "generation": {"max_new_tokens": 6}},
        rows=written,
        spoiled={"target": " "},
        refused="column 'target' holds an empty text",
        kind="bart",
        auto_class="AutoModelForSeq2SeqLM",
        training={"learning_rate": 5e-3, "epochs": 20.0},
        learns=("exact_match", 0.6),
    ),
    "summarization": Toy(
        task={"name": "summarization", "generation": {"max_new_tokens": 6}},
        rows=summed_up,
        spoiled={"summary": []},
        refused="column 'summary' holds an empty text",
        kind="t5",
        auto_class="AutoModelForSeq2SeqLM",
        learns=("rouge1", 0.6),
    ),
    "translation": Toy(
        task={"name": "translation", "generation": {"max_new_tokens": 6, "num_beams": 2}},
        rows=translated,
        spoiled={"source": " "},
        refused="column 'source' holds an empty text",
        kind="bart",
        auto_class="AutoModelForSeq2SeqLM",
        training={"learning_rate": 5e-3, "epochs": 20.0},
        learns=("chrf", 60.0),
    ),
    "multiple-choice": Toy(
        task={"name": "multiple-choice"},
        rows=asked,
        spoiled={"answer": 9},
        refused=r"answer 9 is out of range: there are 3 choices \(0 to 2\)",
    ),
    "multiple-choice, likelihood": Toy(
        task={"name": "multiple-choice", "scoring": "likelihood"},
        rows=asked,
        spoiled={"choices": ["one alone"]},
        refused="holds 1 choice; two are needed",
        kind="llama",
        auto_class="AutoModelForCausalLM",
    ),
    "image-classification": Toy(
        task={"name": "image-classification", "augmentation": {"random_resized_crop": 0.8, "rotation": 10}},
        rows=pictured,
        spoiled={"image": "/nowhere/1.png"},
        refused="/nowhere/1.png: no such file",
        kind="vit",
    ),
    "image-classification, multi-label": Toy(
        task={"name": "image-classification", "problem_type": "multi_label_classification"},
        rows=tagged,
        spoiled={"label": ["square"]},
        refused="class 'square' is unknown in train",
        kind="vit",
        learns=("micro_f1", 0.6),
    ),
    "text-generation": Toy(
        task={"name": "text-generation", "generation": {"max_new_tokens": 4}, "extract": "word5[0-9]"},
        rows=completed,
        spoiled={"completion": " "},
        refused="column 'completion' holds an empty text",
        kind="llama",
        auto_class="AutoModelForCausalLM",
        learns=("exact_match", 0.6),
    ),
    "text-generation, text": Toy(
        task={"name": "text-generation", "text": "text"},
        rows=long_texts,
        spoiled={"text": " "},
        refused="column 'text' holds an empty text",
        kind="llama",
        auto_class="AutoModelForCausalLM",
        learns=("perplexity", 30.0),
    ),
    "text-generation, labels": Toy(
        task={"name": "text-generation", "labels": WORDS[50:53]},
        rows=named,
        spoiled={"completion": "word5x"},
        refused="'word5x' is none of the labels, did you mean word5",
        kind="llama",
        auto_class="AutoModelForCausalLM",
    ),
    "token-classification": Toy(
        task={"name": "token-classification"},
        rows=mentioning,
        spoiled={"tags": ["O"]},
        refused="1 tags for [0-9]+ words",
        learns=("entity_f1", 0.6),
    ),
    "token-classification, windows": Toy(
        task={"name": "token-classification", "stride": 3, "metrics": ["token_accuracy", "entity_f1"]},
        rows=mentioning,
        spoiled={"tokens": ["word1", None]},
        refused="holds None, which is not a word",
        training={"max_length": 10},
        learns=("entity_f1", 0.6),
    ),
    "token-classification, ends": Toy(
        task={"name": "token-classification", "repair": "begin"},
        rows=mentioning_ends,
        spoiled={"tokens": ["word1"], "tags": ["X-PER"]},
        refused="tag 'X-PER' is not of the scheme IOBES, did you mean [BIES]-PER",
        kind="roberta",
        training={"epochs": 20.0},
        learns=("entity_f1", 0.6),
    ),
    "token-classification, no scheme": Toy(
        task={"name": "token-classification", "metrics": ["token_accuracy"]},
        rows=parsed,
        spoiled={"tokens": ["word1"], "tags": ["NUON"]},
        refused="tag 'NUON' is unknown in train, did you mean NOUN",
        kind="llama",
        learns=("token_accuracy", 0.6),
    ),
    "question-answering": Toy(
        task={"name": "question-answering"},
        rows=located,
        spoiled={"answers": {"text": ["nowhere"], "answer_start": [0]}},
        refused="the answer 'nowhere' is not in its context",
        learns=("squad_f1", 0.6),
    ),
    "question-answering, no answer": Toy(
        task={"name": "question-answering"},
        rows=partly_located,
        spoiled={"answers": {"text": ["word1"], "answer_start": []}},
        refused="with as many texts as numbers",
        kind="roberta",
        training={"epochs": 14.0},
        learns=("squad_f1", 0.6),
    ),
    "question-answering, windows": Toy(
        task={"name": "question-answering", "stride": 3, "max_answer_length": 4, "n_best": 3},
        rows=partly_located,
        spoiled={"question": "word58 " * 20},
        refused="the question takes 20 tokens, which leaves no room for its context: 12 fit",
        training={"max_length": 12},
        learns=("squad_f1", 0.6),
    ),
    "question-answering, decoder": Toy(
        task={"name": "question-answering"},
        rows=located,
        spoiled={"context": " "},
        refused="column 'context' holds an empty text",
        kind="llama",
        learns=("squad_f1", 0.6),
    ),
}
"""By a name that begins with the task's."""
