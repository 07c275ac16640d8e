"""A prompt and its completion as tokens, the boundary between them exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peftkit.contracts import IGNORED, Example, Row
from peftkit.errors import RowError
from peftkit.tasks.text_generation.shapes import Rows, Shape, json_of, utf8_bytes


class PromptCompletion(Shape):
    """Two columns: what is given, and what is to follow.

    Both are turned into tokens apart from each other, so that no token reaches over the boundary, in training as when
    a text is generated: bos (where the tokenizer has it) + prompt and separator + completion + eos.
    """

    setting = "completion"

    def __init__(self, prompt: str, completion: str, separator: str, eos: bool, everything: bool) -> None:
        """`everything` is whether the prompt is learnt too."""
        super().__init__(eos)
        self.prompt, self.completion, self.separator, self.everything = prompt, completion, separator, everything

    def columns(self) -> Mapping[str, str]:
        return {"prompt": self.prompt, "completion": self.completion}

    def encode(self, rows: Rows, max_length: int) -> list[list[Example]]:
        prompts = self.prompts(rows)
        given = [[*self.start, *ids] for ids in self.ids(prompts)]
        if self.completion not in rows:
            return [[self._asked(*pair, max_length, row)] for row, pair in enumerate(zip(prompts, given, strict=True))]
        firsts = [self.completions(cell, row)[0] for row, cell in enumerate(rows[self.completion])]
        found = []
        for row, (prompt, before, text, ids) in enumerate(zip(prompts, given, firsts, self.ids(firsts), strict=True)):
            after = [*ids, *self.end]
            self.check_room(len(before), len(after), max_length, row)
            example = self._example(before, after, utf8_bytes(prompt) if self.everything else 0, max_length)
            whole = not example.get("cut")
            example["bytes"] += utf8_bytes(text if whole else self.tokenizer.decode(after[: max_length - len(before)]))
            found.append([example])
        return found

    def prompts(self, rows: Rows) -> list[str]:
        """What is given in each of `rows`, the separator behind it. Raises RowError."""
        for row, cell in enumerate(rows[self.prompt]):
            if not isinstance(cell, str):
                told = f"column {self.prompt!r} holds {cell!r:.60}, which is not text"
                raise RowError(told, row, ("task", "prompt"), f"column {self.prompt!r} does not hold text")
        return [cell + self.separator for cell in rows[self.prompt]]

    def completions(self, cell: Any, row: int) -> list[str]:
        """What may follow: a text, or a list of acceptable ones. Raises RowError."""
        texts = list(cell) if isinstance(cell, Sequence) and not isinstance(cell, str) and cell else [cell]
        return [self.text_of(text, row, "completion", self.completion) for text in texts]

    def texts(self, row: Row) -> list[str]:
        return self.completions(row[self.completion], 0)

    def row(self, line: str) -> dict[str, Any]:
        given = json_of(line)
        return given if isinstance(given, dict) and self.prompt in given else {self.prompt: line}

    def _example(self, before: list[int], after: list[int], prompt_bytes: int, max_length: int) -> Example:
        whole = before + after
        labels = list(whole) if self.everything else [IGNORED] * len(before) + after
        example: Example = {
            "input_ids": whole[:max_length],
            "labels": [IGNORED, *labels[1:max_length]],  # nothing stands before the first token to predict it from
            "prompt": len(before),
            "bytes": prompt_bytes,
        }
        return example | {"cut": True} if len(whole) > max_length else example

    def _asked(self, prompt: str, ids: list[int], max_length: int, row: int) -> Example:
        """A prompt without a completion, to be continued."""
        self.check_room(len(ids), 0, max_length, row)
        return {"input_ids": ids, "prompt": len(ids), "bytes": utf8_bytes(prompt)}

    def check_room(self, before: int, after: int, max_length: int, row: int) -> None:
        """Raises RowError where of so many tokens after a prompt none would fit; a longer completion is cut."""
        if before == 0:
            told = "the prompt is empty, and this tokenizer puts no token before a text: nothing to predict from"
            raise RowError(told, row, ("task", "prompt"))
        if before >= max_length + (after == 0):
            vanishes = f", and the completion ({after} tokens) would vanish" if after else ""
            told = f"the prompt has {before} tokens, the limit is {max_length}{vanishes}"
            raise RowError(told, row, ("training", "max_length"), "the prompt does not fit the limit")
