"""Text generation: which tokens of a conversation are learnt, by a chat template on a toy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peftkit.contracts import IGNORED
from peftkit.errors import RowError, UserError
from tests.test_text_generation import BOS, EOS, encoded, recipe_of, task_of, word

CHAT = (
    "[CLS]{% for message in messages %} {{ 'word55' if message.role == 'user' else 'word56' }} {{ message.content }} "
    "[SEP]{% endfor %}{% if add_generation_prompt %} word56{% endif %}"
)
FORGETFUL = "{% for message in messages[-2:] %}{{ message.content }} [SEP] {% endfor %}"
"""Writes the last two messages only: what it wrote of a shorter conversation is not how the longer one begins."""


def said(*contents: str) -> list[dict[str, str]]:
    """A conversation that the user begins."""
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


class TestConversations:
    def test_what_the_assistant_says_is_learnt_with_the_end_of_its_turn(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, messages="messages"), CHAT)
        [[example]] = encoded(task, {"messages": said("word1", "word2", "word3", "word4 word5")})
        user, assistant = word(55), word(56)
        first, second = [user, word(1), EOS, assistant], [user, word(3), EOS, assistant]
        assert example["input_ids"] == [BOS, *first, word(2), EOS, *second, word(4), word(5), EOS]
        nothing = [IGNORED] * 4
        assert example["labels"] == [IGNORED, *nothing, word(2), EOS, *nothing, word(4), word(5), EOS]
        assert example["prompt"] == 11
        assert example["bytes"] == len("word2 word4 word5")

    def test_all_turns_where_asked(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, messages="messages", loss_on="all"), CHAT)
        [[example]] = encoded(task, {"messages": said("word1", "word2")})
        assert example["labels"] == [IGNORED, *example["input_ids"][1:]]

    def test_a_missing_template_says_what_to_do(self, toys: Any) -> None:
        with pytest.raises(UserError, match="no chat template: take an instruction-tuned base"):
            task_of(recipe_of(toys, messages="messages"))

    @pytest.mark.parametrize(
        "messages, told",
        [
            (said("word1"), "no message is the assistant's"),
            (said("word1", " "), "message 2, the assistant's, is empty"),
            ("word1", "'word1' is no list of messages"),
            ([], r"\[\] is no list of messages"),
            ([{"role": "user", "text": "word1"}], "message 1 is .* not a role and a content"),
            (
                [*said("word1", "word2"), {"role": "assistant", "content": None}],
                "message 3 is .* not a role and a cont",
            ),
            (
                said("word1 " * 9, "word2"),
                r"first answer begins after 13 tokens, the limit is 8: it \(2 tokens\) would",
            ),
        ],
    )
    def test_a_conversation_that_cannot_be_learnt_is_refused(self, messages: Any, told: str, toys: Any) -> None:
        task = task_of(recipe_of(toys, messages="messages"), CHAT)
        with pytest.raises(RowError, match=told):
            encoded(task, {"messages": messages}, max_length=8)

    def test_a_template_that_changes_what_it_wrote_is_refused(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, messages="messages"), FORGETFUL)
        assert encoded(task, {"messages": said("word1", "word2")})
        with pytest.raises(RowError, match="writes a conversation otherwise when it goes on"):
            encoded(task, {"messages": said("word1", "word2", "word3", "word4")})

    def test_what_the_template_itself_refuses_is_told(self, toys: Any) -> None:
        strict = CHAT + "{% if messages | length > 2 %}{{ raise_exception('two messages\nat most') }}{% endif %}"
        task = task_of(recipe_of(toys, messages="messages"), strict)
        with pytest.raises(RowError, match="the chat template refuses the conversation: two messages at most"):
            encoded(task, {"messages": said("word1", "word2", "word3", "word4")})

    def test_a_long_conversation_loses_its_last_turns_and_is_marked(self, toys: Any) -> None:
        row = {"messages": said("word1", "word2", "word3", "word4")}
        [[example]] = encoded(task_of(recipe_of(toys, messages="messages"), CHAT), row, max_length=8)
        assert example["cut"] and len(example["input_ids"]) == len(example["labels"]) == 8
        assert [label for label in example["labels"] if label != IGNORED] == [word(2), EOS]
        writing = task_of(recipe_of(toys, messages="messages", generation={"max_new_tokens": 4}), CHAT)
        with pytest.raises(RowError, match="the last answer begins after 11 tokens, the limit is 8"):
            encoded(writing, row, max_length=8)

    def test_the_end_of_a_turn_ends_what_is_written(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, messages="messages"), CHAT.replace("[SEP]", "[MASK]"))
        assert list(task.shape.stop) == [4, EOS]

    def test_a_conversation_without_an_answer_is_continued(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, messages="messages", generation={"max_new_tokens": 4}), CHAT)
        for line in ("word1", json.dumps(said("word1")), json.dumps({"messages": said("word1")})):
            row = task.row(line)
            assert row == {"prompt": said("word1")}
            [[example]] = encoded(task, row)
            assert example["input_ids"] == [BOS, word(55), word(1), EOS, word(56)] and "labels" not in example
        answered = json.dumps({"messages": said("word1", "word2")})
        assert task.row(answered) == {"messages": said("word1", "word2")}
        assert task.reference(task.row(answered))["texts"] == ["word2"]
