"""A few rows of every task, in the words of the toys, of uneven lengths: what the toys are trained on for a moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peftkit.proving.toys import WORDS

Row = dict[str, Any]


def classified(number: int) -> Row:
    """A text of one of three classes."""
    return {"text": _words(number, 4 + number * 7 % 9), "label": f"class{number % 3}"}


def tagged(number: int) -> Row:
    """Words, some of which begin an entity and others go on with it."""
    tokens = _words(number, 3 * (2 + number % 3)).split()
    return {"tokens": tokens, "tags": ["B-PER", "I-PER", "O"] * (len(tokens) // 3)}


def asked(number: int) -> Row:
    """A question whose answer is one word of its context."""
    words = _words(number, 6 + number % 7).split()
    answer = words[number % len(words)]
    context = " ".join(words)
    return {
        "question": "word58 word59",
        "context": context,
        "answers": {"text": [answer], "answer_start": [context.index(answer)]},
    }


def chosen(number: int) -> Row:
    """A question with two or three choices."""
    count = 2 + number % 2
    return {
        "question": _words(number, 5),
        "choices": [_words(number + 7 * choice, 2 + (number + choice) % 3) for choice in range(count)],
        "answer": number % count,
    }


def completed(number: int) -> Row:
    """A prompt and what follows it."""
    return {"prompt": _words(number, 6 + number % 6), "completion": _words(number + 20, 6 + number % 3)}


def rewritten(number: int) -> Row:
    """A text and another text."""
    return {"text": _words(number, 3 + number % 6), "target": _words(number, 2)}


def pictured(number: int, folder: Path) -> Row:
    """A picture of one colour of three, with a pattern."""
    from PIL import Image

    side = 12 + number % 5
    pixels = bytes((number * 31 + place * 7) % 90 + 120 * (place % 3 == number % 3) for place in range(3 * side * side))
    Image.frombytes("RGB", (side, side), pixels).save(file := folder / f"{number}.png")
    return {"image": str(file), "label": number % 3}


ROWS: dict[str, Callable[[int], Row]] = {
    "text-classification": classified,
    "token-classification": tagged,
    "question-answering": asked,
    "multiple-choice": chosen,
    "text-generation": completed,
    "text2text-generation": rewritten,
}
"""How a row of a task is made from its number. Those of image classification need a folder beside."""


def save_rows(folder: Path, task: str, train: int, test: int) -> Path:
    """``train.jsonl`` and ``test.jsonl`` of a task in `folder`."""
    folder.mkdir(parents=True)
    numbers = {"train": range(train), "test": range(100, 100 + test)}
    for split, chosen_numbers in numbers.items():
        rows = [pictured(n, folder) if task == "image-classification" else ROWS[task](n) for n in chosen_numbers]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def _words(number: int, length: int) -> str:
    return " ".join(WORDS[(number * 3 + place * 5 + number * place) % 58] for place in range(length))
