"""Classification written as text: a prompt whose completion is one of a few labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from peftkit.contracts import IGNORED, Batch, Example, Reading
from peftkit.errors import RowError, UserError, suggest
from peftkit.examples.likelihood import given_token_loss
from peftkit.examples.texts import extracted
from peftkit.tasks.text_generation.prompts import PromptCompletion

LABELS = ("task", "labels")


class PromptLabel(PromptCompletion):
    """A prompt and a label; the label chosen for a prompt is the likeliest, or the one that the model writes."""

    def __init__(
        self, prompt: str, completion: str, separator: str, eos: bool, everything: bool, labels: Sequence[str]
    ) -> None:
        super().__init__(prompt, completion, separator, eos, everything)
        self.labels = {label.strip(): label for label in labels}
        """As it is spelled in the recipe (space around it is learnt), by its bare name."""
        self.label_ids: list[list[int]] = []
        """Tokens of each label, the closing one too."""

    def equip(self, tokenizer: Any) -> None:
        super().equip(tokenizer)
        self.label_ids = [[*ids, *self.end] for ids in self.ids(list(self.labels.values()))]
        for number, (name, ids) in enumerate(zip(self.labels, self.label_ids, strict=True)):
            if ids in self.label_ids[:number]:
                first = list(self.labels)[self.label_ids.index(ids)]
                raise UserError(f"{first!r} and {name!r} are the same tokens to this tokenizer", LABELS)

    def completions(self, cell: Any, row: int) -> list[str]:
        name = self.text_of(cell, row, "completion", self.completion).strip()
        if name not in self.labels:
            allowed = f"{', '.join(list(self.labels)[:8])}{', …' if len(self.labels) > 8 else ''}"
            told = f"{name!r:.60} is none of the labels{suggest(name, self.labels)} (allowed: {allowed})"
            raise RowError(told, row, LABELS, f"{name!r:.60} is none of the labels")
        return [self.labels[name]]

    def check_room(self, before: int, after: int, max_length: int, row: int) -> None:
        """Raises RowError where not every label fits whole: one that is cut cannot be told from another."""
        longest = max(map(len, self.label_ids))
        super().check_room(before, longest, max_length, row)
        if before + longest > max_length:
            told = f"the prompt has {before} tokens, the longest label {longest}, the limit is {max_length}"
            raise RowError(told, row, ("training", "max_length"), "prompt and label do not fit the limit")

    def likeliest(
        self, model: Any, prompts: Sequence[list[int]], collate: Callable[[Sequence[Example]], Batch], device: Any
    ) -> list[Reading]:
        """The label with the highest log-likelihood after each prompt, summed over its tokens.

        ``scores`` are the labels' shares of the likelihood of all of them, which sum to 1.
        """
        import torch

        columns = []
        for ids in self.label_ids:  # one label at a time: logits are what takes memory
            examples = [{"input_ids": prompt + ids, "labels": [IGNORED] * len(prompt) + ids} for prompt in prompts]
            batch = collate(examples).to(device)
            assert batch.labels is not None
            columns.append(-given_token_loss(model(**batch.inputs).logits, batch.labels).sum(1))
        likelihoods = torch.stack(columns, dim=1)
        names, best = list(self.labels), likelihoods.argmax(1).tolist()
        return [
            {"label": names[number], "scores": dict(zip(names, row, strict=True))}
            for number, row in zip(best, likelihoods.softmax(1).tolist(), strict=True)
        ]

    def named(self, text: str, extract: str | None) -> Reading:
        """The label that a written text, or what is extracted of it, is; no label at all where it is none."""
        name = extracted(text, extract) or ""
        valid = name in self.labels
        return {"label": name if valid else "", "valid": valid, "text": text}
