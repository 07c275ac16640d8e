"""Conversations as tokens, written by the tokenizer's chat template; which of them the assistant said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peftkit.contracts import IGNORED, Example, Row
from peftkit.errors import RowError, UserError
from peftkit.tasks.text_generation.shapes import Rows, Shape, json_of, utf8_bytes

Message = dict[str, Any]
ASSISTANT = "assistant"
PROMPT = "prompt"
"""Column of a conversation that has no answer yet: for predictions only."""


class Conversation(Shape):
    """A column of messages, ``[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]``.

    What the assistant says is learnt: from the end of what the template writes to have an answer begun
    (``add_generation_prompt``) to the token that ends the turn. Both places are found by writing the conversation up to
    there, which must give the beginning of the whole.
    """

    setting = "messages"

    def __init__(self, messages: str, everything: bool) -> None:
        """`everything` is whether all turns are learnt, not the assistant's alone."""
        super().__init__(eos=False)  # the template closes a turn as it wants
        self.messages, self.everything = messages, everything

    def equip(self, tokenizer: Any) -> None:
        super().equip(tokenizer)
        if not tokenizer.chat_template:
            told = (
                "the tokenizer has no chat template: take an instruction-tuned base or a folder with a "
                "chat_template.jinja, or write the rows as prompt and completion"
            )
            raise UserError(told, self.key)
        try:
            self.stop = self._end_of_turn()
        except RowError as error:
            raise UserError(str(error), self.key) from None

    def columns(self) -> Mapping[str, str]:
        return {"messages": self.messages}

    def encode(self, rows: Rows, max_length: int) -> list[list[Example]]:
        if self.messages in rows:
            return [[self._answered(cell, row, max_length)] for row, cell in enumerate(rows[self.messages])]
        return [[self._asked(cell, row, max_length)] for row, cell in enumerate(rows[PROMPT])]

    def texts(self, row: Row) -> list[str]:
        messages = self._checked(row[self.messages], 0)
        return [messages[_turns(messages)[-1]]["content"]]

    def row(self, line: str) -> dict[str, Any]:
        """A conversation as JSON, or else what the user says. Without an answer at its end it is a prompt."""
        given = json_of(line)
        if isinstance(given, dict):
            given = given.get(self.messages, given.get(PROMPT))
        if not isinstance(given, list):
            given = [{"role": "user", "content": line}]
        last = given[-1].get("role") if given and isinstance(given[-1], dict) else None
        return {self.messages if last == ASSISTANT else PROMPT: given}

    def _answered(self, cell: Any, row: int, max_length: int) -> Example:
        messages = self._checked(cell, row)
        turns = _turns(messages)
        if not turns:
            told = f"no message is the {ASSISTANT}'s (to have one written, give the conversation as {PROMPT!r})"
            raise RowError(told, row, self.key, f"no message is the {ASSISTANT}'s")
        whole = self._written(messages, row)
        spans = [self._span(messages, turn, whole, row) for turn in (turns[-1:] if self.everything else turns)]
        labels = [IGNORED] * len(whole)
        for first, last in [(1, len(whole))] if self.everything else spans:
            labels[first:last] = whole[first:last]
        before = spans[0][0]
        if before >= max_length and not self.everything:
            told = (
                f"the first answer begins after {before} tokens, the limit is {max_length}: "
                f"it ({spans[0][1] - before} tokens) would vanish"
            )
            raise RowError(told, row, ("training", "max_length"), "the first answer does not fit the limit")
        said = [token for token, label in zip(whole[:max_length], labels, strict=False) if label != IGNORED]
        example: Example = {
            "input_ids": whole[:max_length],
            "labels": labels[:max_length],
            "prompt": spans[-1][0],
            "bytes": utf8_bytes(str(self.tokenizer.decode(said, skip_special_tokens=True))),
        }
        return example | {"cut": True} if len(whole) > max_length else example

    def _asked(self, cell: Any, row: int, max_length: int) -> Example:
        """A conversation without its last answer, to be continued."""
        ids = self._written(self._checked(cell, row), row, begin_answer=True)
        if len(ids) > max_length:
            told = f"the conversation has {len(ids)} tokens, the limit is {max_length}"
            raise RowError(told, row, ("training", "max_length"), "the conversation does not fit the limit")
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return {"input_ids": ids, "prompt": len(ids), "bytes": utf8_bytes(str(text))}

    def _span(self, messages: Sequence[Message], turn: int, whole: list[int], row: int) -> tuple[int, int]:
        """Where in `whole` an answer begins and ends."""
        before = self._written(messages[:turn], row, begin_answer=True)
        upto = self._written(messages[: turn + 1], row)
        if whole[: len(upto)] != upto or upto[: len(before)] != before or len(upto) == len(before):
            told = (
                "the chat template writes a conversation otherwise when it goes on, so that its answers cannot be "
                "found; take another template, or rows of one answer each"
            )
            raise RowError(told, row, self.key)
        ends = [place for place in range(len(before), len(upto)) if upto[place] in self.stop]
        return len(before), ends[-1] + 1 if ends else len(upto)

    def _written(self, messages: Sequence[Message], row: int, begin_answer: bool = False) -> list[int]:
        """The conversation as the template writes it. Raises RowError where the template refuses it."""
        from jinja2.exceptions import TemplateError

        try:
            found = self.tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=begin_answer, tokenize=True, return_dict=True
            )
        except TemplateError as error:
            told = f"the chat template refuses the conversation: {' '.join(str(error).split())}"
            raise RowError(told, row, self.key) from None
        return [int(token) for token in found["input_ids"]]

    def _end_of_turn(self) -> list[int]:
        """The last special token that the template writes after an answer, if any, and the tokenizer's eos."""
        asked = [{"role": "user", "content": "a"}]
        answer = {"role": ASSISTANT, "content": "a"}
        before, upto = self._written(asked, 0, begin_answer=True), self._written([*asked, answer], 0)
        special = {*self.tokenizer.all_special_ids, *_added_special(self.tokenizer)}
        closing = [token for token in reversed(upto[len(before) :]) if token in special]
        eos = self.tokenizer.eos_token_id
        return list(dict.fromkeys([*closing[:1], *([] if eos is None else [int(eos)])]))

    def _checked(self, cell: Any, row: int) -> list[Message]:
        """The messages, without the fields that other rows have and this one lacks. Raises RowError."""
        if not isinstance(cell, Sequence) or isinstance(cell, str) or not cell:
            told = f"{cell!r:.60} is no list of messages with role and content"
            raise RowError(told, row, self.key, "not a list of messages")
        messages = []
        for number, message in enumerate(cell, 1):
            if not isinstance(message, Mapping) or not all(
                isinstance(message.get(k), str) for k in ("role", "content")
            ):
                told = f"message {number} is {message!r:.80}, not a role and a content, both text"
                raise RowError(told, row, self.key, "a message without role and content")
            if message["role"] == ASSISTANT and not message["content"].strip():
                told = f"message {number}, the {ASSISTANT}'s, is empty"
                raise RowError(told, row, self.key, f"an {ASSISTANT}'s message is empty")
            messages.append({name: value for name, value in message.items() if value is not None})
        return messages


def _turns(messages: Sequence[Message]) -> list[int]:
    """Places of the assistant's messages."""
    return [place for place, message in enumerate(messages) if message["role"] == ASSISTANT]


def _added_special(tokenizer: Any) -> list[int]:
    """Special tokens that no name such as eos points at, e.g. an end of turn."""
    return [int(number) for number, token in tokenizer.added_tokens_decoder.items() if token.special]
