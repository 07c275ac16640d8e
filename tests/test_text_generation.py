"""Text generation: what is learnt of every shape of rows, and its likelihood, worked by hand on toys."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from datasets import Dataset

from peftkit.contracts import IGNORED, Task
from peftkit.data import encode
from peftkit.errors import RowError, UserError
from peftkit.evaluate import evaluate
from peftkit.methods import METHODS
from peftkit.model import load_base, load_config, load_processor
from peftkit.reading import ready
from peftkit.recipe import Recipe, check
from peftkit.tasks import TASKS
from peftkit.training import make_accelerator
from tests.toy_tasks import completed

BOS, EOS, UNKNOWN = 2, 3, 1
PAIR = {"prompt": "word1 word2", "completion": "word3"}


def word(number: int) -> int:
    """The id of a word of the toys' vocabulary."""
    return 5 + number


def recipe_of(toys: Any, kind: str = "llama", method: Any = "lora", **settings: Any) -> Recipe:
    return check(
        {
            "model": str(toys(kind, "AutoModelForCausalLM")),
            "method": method,
            "task": {"name": "text-generation", **settings},
            "data": "given",
            "training": {"max_length": 32, "eval_batch_size": 5},
        },
        {},
    )


def task_of(recipe: Recipe, template: str | None = None, **tokenizer: Any) -> Task:
    task = TASKS["text-generation"](recipe.task)
    processor = load_processor(recipe.model, task)
    processor.chat_template = template
    for name, value in tokenizer.items():
        setattr(processor, name, value)
    task.equip(processor, load_config(recipe.model))
    return task


def encoded(task: Task, *rows: dict[str, Any], max_length: int = 32) -> list[list[dict[str, Any]]]:
    return task.encode({name: [row[name] for row in rows] for name in rows[0]}, max_length)


class TestSettings:
    def test_without_any_shape_rows_are_a_prompt_and_its_completion(self, toys: Any) -> None:
        recipe = recipe_of(toys)
        assert TASKS["text-generation"](recipe.task).columns() == {"prompt": "prompt", "completion": "completion"}
        assert recipe == recipe_of(toys, prompt="prompt", completion="completion")
        assert TASKS["text-generation"](recipe_of(toys, messages="chat").task).columns() == {"messages": "chat"}

    @pytest.mark.parametrize(
        "settings, told",
        [
            ({"messages": "chat", "text": "text"}, "messages, text: rows have one shape"),
            ({"prompt": "question", "text": "text"}, "prompt and completion, text: rows have one shape"),
            ({"text": "text", "generation": {}}, "generation goes with rows of prompt and completion, or messages"),
            ({"messages": "chat", "labels": ["a", "b"]}, "labels goes with rows of prompt and completion"),
            ({"text": "text", "separator": " "}, "separator goes with rows of prompt and completion"),
            ({"extract": "x"}, "extract reads what the model writes; give generation too"),
            ({"generation": {}, "extract": "("}, "is no regular expression"),
            ({"labels": ["a", " a"]}, "labels must differ"),
            ({"labels": ["a", "b"], "choose_by": "generation"}, "choose_by: generation needs labels, and generation"),
            ({"labels": ["a", "b"], "generation": {}}, "give choose_by: generation"),
            ({"metrics": ["bleu"]}, "bleu does not fit text-generation as set here"),
        ],
    )
    def test_what_does_not_go_together_is_told_in_one_line(self, settings: Any, told: str, toys: Any) -> None:
        with pytest.raises(UserError, match=told) as error:
            recipe_of(toys, **settings)
        assert "\n" not in str(error.value)

    def test_a_recipe_reads_back_equal(self, toys: Any) -> None:
        for settings in ({}, {"text": "text"}, {"messages": "chat", "generation": {"num_beams": 2}}):
            recipe = recipe_of(toys, **settings)
            assert check(recipe.given(), {}) == recipe


class TestPromptAndCompletion:
    def test_bos_prompt_completion_eos_and_only_the_last_two_are_learnt(self, toys: Any) -> None:
        [[example]] = encoded(task_of(recipe_of(toys)), PAIR)
        assert example == {
            "input_ids": [BOS, word(1), word(2), word(3), EOS],
            "labels": [IGNORED, IGNORED, IGNORED, word(3), EOS],
            "prompt": 3,
            "bytes": len("word3"),
        }

    def test_all_of_it_or_no_end_where_asked(self, toys: Any) -> None:
        [[example]] = encoded(task_of(recipe_of(toys, loss_on="all", eos=False)), PAIR)
        assert example["labels"] == [IGNORED, word(1), word(2), word(3)]
        assert example["bytes"] == len("word1 word2") + len("word3")

    def test_no_token_reaches_over_the_boundary(self, toys: Any) -> None:
        """Together "wo" and "rd1" are a word of the vocabulary; apart neither is."""
        [[example]] = encoded(task_of(recipe_of(toys)), {"prompt": "wo", "completion": "rd1"})
        assert example["input_ids"] == [BOS, UNKNOWN, UNKNOWN, EOS]
        [[example]] = encoded(task_of(recipe_of(toys, separator=" word9 ")), PAIR)
        assert example["input_ids"] == [BOS, word(1), word(2), word(9), word(3), EOS]

    def test_a_completion_that_is_too_long_is_cut_and_marked(self, toys: Any) -> None:
        task = task_of(recipe_of(toys))
        row = {"prompt": "word1", "completion": "word2 word3 word4"}
        [[example]] = encoded(task, row, max_length=4)
        assert example["labels"] == [IGNORED, IGNORED, word(2), word(3)] and example["cut"]
        assert example["bytes"] == len("word2 word3")
        [[example]] = encoded(task, row, max_length=6)
        assert "cut" not in example

    @pytest.mark.parametrize(
        "row, told",
        [
            ({"completion": " "}, "'completion' holds an empty text"),
            ({"completion": []}, r"'completion' holds \[\], which is not text"),
            ({"completion": 5}, "'completion' holds 5, which is not text"),
            ({"prompt": 5}, "'prompt' holds 5, which is not text"),
            ({"prompt": "word1 " * 7}, r"prompt has 8 tokens, the limit is 8, and the completion \(2 tokens\) would"),
        ],
    )
    def test_a_row_that_cannot_be_learnt_is_refused(self, row: dict[str, Any], told: str, toys: Any) -> None:
        with pytest.raises(RowError, match=told) as error:
            encoded(task_of(recipe_of(toys)), PAIR, {**PAIR, **row}, max_length=8)
        assert error.value.row == 1

    def test_the_first_of_several_texts_is_learnt_and_all_are_right(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, generation={"max_new_tokens": 4}))
        row = {"prompt": "word1", "completion": ["word3", "word4"]}
        [[example]] = encoded(task, row)
        assert example["labels"] == [IGNORED, IGNORED, word(3), EOS]
        assert task.reference(row) == {"texts": ["word3", "word4"], "extracted": ["word3", "word4"]}

    def test_without_a_token_before_it_an_empty_prompt_predicts_nothing(self, toys: Any) -> None:
        task = task_of(recipe_of(toys))
        assert encoded(task, {**PAIR, "prompt": ""})[0][0]["prompt"] == 1  # bos
        task.shape.start = []
        with pytest.raises(RowError, match="the prompt is empty"):
            encoded(task, {**PAIR, "prompt": ""})

    @pytest.mark.parametrize("kind", ["llama", "gpt2"])
    def test_the_loss_is_that_of_transformers_times_its_tokens(self, kind: str, toys: Any) -> None:
        recipe = recipe_of(toys, kind)
        task = task_of(recipe)
        batch = task.collate([example for [example] in encoded(task, *completed(6, 0))])
        model = load_base(recipe, task, torch.device("cpu")).model.eval()
        assert len(set(batch.inputs["attention_mask"].sum(1).tolist())) > 1
        with torch.no_grad():
            theirs = model(**batch.inputs, labels=batch.labels).loss
            ours = task.loss(model(**batch.inputs), batch)
        torch.testing.assert_close(ours, theirs * task.supervised(batch))
        assert task.supervised(batch) == 6 * 3  # two words and the end

    def test_no_cache_is_kept_where_nothing_is_written(self, toys: Any) -> None:
        recipe = recipe_of(toys)
        task = task_of(recipe)
        batch = task.collate(encoded(task, PAIR)[0]).to("cpu")
        model = load_base(recipe, task, torch.device("cpu")).model
        assert model(**batch.inputs).past_key_values is None
        assert model.config.use_cache  # left as it is for whoever takes the trained model


class TestPlainText:
    def test_blocks_share_one_token_so_that_each_is_learnt_once(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, text="text"))
        text = " ".join(f"word{i}" for i in range(6))
        [examples] = encoded(task, {"text": text}, max_length=4)
        whole = [BOS, *map(word, range(6)), EOS]
        assert [example["input_ids"] for example in examples] == [whole[0:4], whole[3:7], whole[6:8]]
        learnt = [label for example in examples for label in example["labels"] if label != IGNORED]
        assert learnt == whole[1:]
        assert all(example["labels"][0] == IGNORED for example in examples)
        assert sum(example["bytes"] for example in examples) == len(text)
        assert not any(example.get("cut") for example in examples)

    @pytest.mark.parametrize("tokens", range(2, 12))
    def test_nothing_is_lost_at_any_length(self, tokens: int, toys: Any) -> None:
        task = task_of(recipe_of(toys, text="text", eos=False))
        [examples] = encoded(task, {"text": "word1 " * (tokens - 1)}, max_length=4)
        assert sum(len(example["input_ids"]) - 1 for example in examples) == tokens - 1
        assert all(2 <= len(example["input_ids"]) <= 4 for example in examples)

    def test_a_row_in_blocks_has_the_sum_of_their_likelihoods(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, text="text"))
        parts = [{"log_likelihood": -3.0, "tokens": 2, "bytes": 9}, {"log_likelihood": -1.0, "tokens": 1, "bytes": 0}]
        assert task.join({}, parts) == {"log_likelihood": -4.0, "tokens": 3, "bytes": 9}

    def test_without_bos_the_first_token_is_given_and_its_bytes_do_not_count(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, text="text", eos=False))
        task.shape.start = []
        [[example]] = encoded(task, {"text": "word10 word2"})
        assert example == {"input_ids": [word(10), word(2)], "labels": [IGNORED, word(2)], "bytes": len(" word2")}
        with pytest.raises(RowError, match="one token, and none before it"):
            encoded(task, {"text": "word10"})

    def test_bytes_are_those_of_utf8(self, toys: Any) -> None:
        [[example]] = encoded(task_of(recipe_of(toys, text="text")), {"text": "é中"})
        assert example["bytes"] == 5

    def test_scores_follow_from_the_likelihoods(self, toys: Any, tmp_path: Path) -> None:
        recipe = recipe_of(toys, text="text")
        task = task_of(recipe)
        rows = encode(Dataset.from_list([{"text": row["prompt"] * 4} for row in completed(5, 0)]), task, 16)
        base = load_base(recipe, task, torch.device("cpu"))
        found = evaluate(base.model, rows, task, make_accelerator(recipe, tmp_path), 4)
        tokens = sum(prediction["tokens"] for prediction in found.predictions)
        size = sum(len(row["text"].encode()) for row in rows.rows)
        assert found.scores["perplexity"] == pytest.approx(math.exp(found.scores["loss"]), rel=1e-4)
        expected = found.scores["loss"] * tokens / size / math.log(2)
        assert found.scores["bits_per_byte"] == pytest.approx(expected, rel=1e-4)


class TestRoom:
    """Virtual tokens have positions too, and what is written comes after them."""

    @pytest.mark.parametrize("method, fits", [("lora", True), ("prefix-tuning", False), ("prompt-tuning", False)])
    def test_what_is_written_must_fit_beside_virtual_tokens(self, method: str, fits: bool, toys: Any) -> None:
        """66 positions: 39 tokens of prompt and 16 to write leave 11, of which the methods here take 20."""
        recipe = recipe_of(toys, "gpt2", method, generation={"max_new_tokens": 16})
        task = TASKS["text-generation"](recipe.task)
        limit = ready(recipe, METHODS[method](recipe.method), task)
        assert limit == 32 and task.positions == (66 if fits else 46)
        rows = Dataset.from_list([{"prompt": "word1 " * 38, "completion": "word2"}])
        if fits:
            assert len(encode(rows, task, 64)) == 1
            return
        with pytest.raises(UserError, match="row 1: the prompt has 39 tokens and 16 are to be written, but the model"):
            encode(rows, task, 64)

    def test_an_answer_longer_than_what_virtual_tokens_leave_is_refused(self, toys: Any) -> None:
        method = {"name": "prefix-tuning", "num_virtual_tokens": 30}
        recipe = recipe_of(toys, "gpt2", method, generation={"max_new_tokens": 36})
        with pytest.raises(UserError, match="36 tokens to write leave no room for a prompt in 36 positions"):
            ready(recipe, METHODS["prefix-tuning"](recipe.method), TASKS["text-generation"](recipe.task))


def test_the_loss_of_an_evaluation_is_what_was_read_and_not_computed_again(toys: Any, tmp_path: Path) -> None:
    recipe = recipe_of(toys)
    task = task_of(recipe)
    rows = encode(Dataset.from_list(completed(7, 0)), task, 32)
    model = load_base(recipe, task, torch.device("cpu")).model
    batch = task.collate(rows.examples)
    with torch.no_grad():
        outputs = model(**batch.inputs)
    summed = float(task.loss(outputs, batch))
    assert task.loss_in(task.read(outputs, batch)) == pytest.approx(summed, rel=1e-6)
    with patch.object(type(task), "loss", side_effect=AssertionError("computed again")):
        found = evaluate(model, rows, task, make_accelerator(recipe, tmp_path), 3)
    assert found.scores["loss"] == pytest.approx(summed / task.supervised(batch), rel=1e-5)
