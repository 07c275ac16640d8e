"""Choices scored by the likelihood that a causal language model gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from peftkit.contracts import IGNORED, Batch, Example, Reading
from peftkit.errors import RowError, UserError
from peftkit.examples.likelihood import next_token_loss
from peftkit.tasks.multiple_choice.choices import CHOICES, Question
from peftkit.tasks.multiple_choice.scoring import SCORING, Scoring, by_row, highest, too_long

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

Normalization = Literal["none", "bytes", "tokens"]
PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Likelihood(Scoring):
    """A causal language model scores each choice by the log-likelihood of its tokens after the prompt.

    ``summed_label`` takes the highest sum (lm-evaluation-harness, acc), ``normalized_label`` the highest sum per UTF-8
    byte of the choice (the harness' acc_norm; it counts characters, which is the same in ASCII), ``label`` the highest
    under `normalization`. The loss is cross-entropy over these scores (Liu et al. 2022, T-Few, arXiv:2205.05638,
    its loss L_LN, where the length is in tokens).
    """

    auto_class = "AutoModelForCausalLM"
    adds_head = False
    peft_task_type = "CAUSAL_LM"
    metrics = ("accuracy", "summed_accuracy", "normalized_accuracy")
    gives = ("label", "summed_label", "normalized_label")
    opening: list[int]
    """What the tokenizer sets before a text: the token that begins a sequence, where it has one."""

    def __init__(self, prompt: str, normalization: Normalization) -> None:
        self.prompt, self.normalization = prompt, normalization

    def equip(self, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

        if config.is_encoder_decoder or (config.model_type in MASKED and not getattr(config, "is_decoder", False)):
            told = f"{config.model_type} is no causal language model: it would see what it is asked for; use head"
            raise UserError(told, SCORING)
        self.tokenizer = tokenizer
        found = tokenizer("a", return_special_tokens_mask=True)
        self.opening = found["input_ids"][: found["special_tokens_mask"].index(0)]

    def encode(self, questions: Sequence[Question], max_length: int) -> list[Example]:
        before = [self._before(question) for question in questions]
        # Spaces go with the choice, as tokenizers learn words; lm-evaluation-harness does the same.
        prompts = self._ids([text.rstrip() for text in before])
        wholes = iter(
            self._ids([text + choice for text, q in zip(before, questions, strict=True) for choice in q.choices])
        )
        return [
            self._example(question, prompt, [next(wholes) for _ in question.choices], max_length, row)
            for row, (question, prompt) in enumerate(zip(questions, prompts, strict=True))
        ]

    def scores(self, outputs: Any, batch: Batch) -> Tensor:
        return by_row(self._sums(outputs, batch) / self._lengths(batch, self.normalization, outputs.logits), batch)

    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        sums = self._sums(outputs, batch)
        counts = [len(example["input_ids"]) for example in batch.examples]
        found: dict[str, list[list[float]]] = {}
        for normalization in ("none", "bytes", "tokens"):
            scores = sums / self._lengths(batch, normalization, outputs.logits)
            found[normalization] = [part.tolist() for part in scores.split(counts)]
        return [
            {
                "label": highest(found[self.normalization][row]),
                "summed_label": highest(found["none"][row]),
                "normalized_label": highest(found["bytes"][row]),
                "scores": found[self.normalization][row],
            }
            for row in range(len(counts))
        ]

    def _before(self, question: Question) -> str:
        """The prompt up to the choice; replaced in one pass, so that braces in a text stay what they are."""
        texts = {"context": question.context, "question": question.question, "choice": ""}
        return PLACEHOLDER.sub(lambda found: texts[found[1]], self.prompt)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _example(
        self, question: Question, prompt: list[int], wholes: list[list[int]], max_length: int, row: int
    ) -> Example:
        """All choices of a row after the same tokens of its prompt, from the left cut to leave the longest choice room.

        The choices' tokens begin where the first of them departs from the prompt's own tokens: a token that holds the
        end of the prompt and the beginning of a choice counts with the choices, for all of them alike.
        """
        shared = _common_prefix([prompt, *wholes])
        opening = [] if wholes[0][: len(self.opening)] == self.opening else self.opening
        if not shared and not opening:  # nothing to begin from: the end of another text, as the harness has it
            opening = [
                token for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id) if token is not None
            ][:1]
        if not shared and not opening:
            raise RowError("nothing stands before the choices, and the tokenizer has no token to begin with", row)
        longest = max(range(len(wholes)), key=lambda place: len(wholes[place]))
        taken = len(opening) + len(wholes[longest]) - shared
        if taken + min(shared, 1) > max_length:
            raise too_long(taken, max_length, row, longest)
        cut = max(taken + shared - max_length, 0)
        for place, whole in enumerate(wholes):
            if len(whole) == shared:
                raise RowError(
                    f"choice {place} {question.choices[place]!r:.60} makes no token", row, CHOICES, "no token"
                )
        return {
            "input_ids": [opening + whole[cut:] for whole in wholes],
            "start": len(opening) + shared - cut,
            "bytes": [len(choice.encode()) for choice in question.choices],
            **({"cut": True} if cut else {}),
        }

    def _sums(self, outputs: Any, batch: Batch) -> Tensor:
        """The log-likelihood of each choice, ``(choices,)``."""
        import torch

        ids = batch.inputs["input_ids"]
        spans = [(example["start"], len(one)) for example in batch.examples for one in example["input_ids"]]
        starts, ends = torch.tensor(spans, device=ids.device).T[:, :, None]
        places = torch.arange(ids.shape[1], device=ids.device)
        labels = ids.masked_fill((places < starts) | (places >= ends), IGNORED)
        # prompt methods put logits of their own before those of the tokens
        return -next_token_loss(outputs.logits[:, -ids.shape[1] :], labels).sum(-1)

    def _lengths(self, batch: Batch, normalization: str, like: Tensor) -> Tensor:
        """What each choice's sum is divided by, ``(choices,)``."""
        import torch

        lengths: list[int] = []
        for example in batch.examples:
            match normalization:
                case "none":
                    lengths += [1] * len(example["input_ids"])
                case "bytes":
                    lengths += example["bytes"]
                case "tokens":
                    lengths += [len(ids) - example["start"] for ids in example["input_ids"]]
        return torch.tensor(lengths, dtype=torch.float32, device=like.device)


def placeholders(prompt: str) -> list[str]:
    """The names in braces, in their order."""
    names: list[str] = PLACEHOLDER.findall(prompt)
    return names


def _common_prefix(lists: Sequence[Sequence[int]]) -> int:
    """How many tokens all `lists` begin with."""
    count = 0
    for tokens in zip(*lists, strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count
