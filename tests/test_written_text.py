"""Text generation: what is written, which label is chosen, and what is read of it, on toys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import peftkit
from peftkit.data import encode
from peftkit.errors import RowError, UserError
from peftkit.evaluate import evaluate
from peftkit.examples.texts import text_prediction, text_reference
from peftkit.metrics import METRICS
from peftkit.model import load_base
from peftkit.recipe import check
from peftkit.tasks import TASKS
from peftkit.training import make_accelerator
from tests.conftest import write_jsonl
from tests.test_text_generation import EOS, PAIR, encoded, recipe_of, task_of, word
from tests.toy_tasks import completed


class TestWriting:
    @pytest.mark.parametrize("kind", ["llama", "gpt2"])
    @pytest.mark.parametrize("method", ["lora", {"name": "prefix-tuning", "num_virtual_tokens": 3}])
    def test_a_batch_is_written_as_its_rows_one_by_one(self, kind: str, method: Any, toys: Any) -> None:
        recipe = recipe_of(toys, kind, method, generation={"max_new_tokens": 8})
        task = task_of(recipe)
        base = load_base(recipe, task, torch.device("cpu"))
        from peftkit.methods import METHODS

        model: Any = METHODS[recipe.method.name](recipe.method).attach(base, 10).eval()
        examples = [example for [example] in encoded(task, *completed(7, 0))]
        with torch.no_grad():
            together = task.generate(model, task.collate(examples))
            alone = [task.generate(model, task.collate([example])) for example in examples]
        assert together == [one for (one,) in alone]
        assert len({reading["text"] for reading in together}) > 1

    @pytest.mark.parametrize("kind", ["llama", "gpt2"])
    def test_each_token_is_the_likeliest_after_those_before_it(self, kind: str, toys: Any) -> None:
        recipe = recipe_of(toys, kind, generation={"max_new_tokens": 5})
        task = task_of(recipe)
        model = load_base(recipe, task, torch.device("cpu")).model.eval()
        examples = [example for [example] in encoded(task, *completed(5, 0))]
        with torch.no_grad():
            found = task.generate(model, task.collate(examples))
            for example, reading in zip(examples, found, strict=True):
                ids = example["input_ids"][: example["prompt"]]
                while len(ids) < example["prompt"] + 5 and ids[-1] != EOS:
                    ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
                text = task.processor.decode(ids[example["prompt"] :], skip_special_tokens=True)
                assert reading["text"] == text

    def test_a_prompt_needs_room_for_what_is_written(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, generation={"max_new_tokens": 60}))
        with pytest.raises(RowError, match="prompt has 8 tokens and 60 are to be written, but the model has 66 places"):
            encoded(task, {**PAIR, "prompt": "word1 " * 7})
        with pytest.raises(UserError, match="66 tokens to write leave no room for a prompt in 66 positions"):
            task_of(recipe_of(toys, generation={"max_new_tokens": 66}))

    def test_metrics_follow_from_what_is_asked(self, toys: Any) -> None:
        def metrics(**settings: Any) -> tuple[str, ...]:
            return TASKS["text-generation"](recipe_of(toys, **settings).task).metrics

        assert metrics() == metrics(text="text") == ("perplexity", "byte_perplexity", "bits_per_byte")
        assert metrics(generation={})[0] == "rougeL" and set(metrics()) < set(metrics(generation={}))
        assert metrics(generation={}, extract="[0-9]+")[0] == "exact_match"
        by_generation = metrics(labels=["a", "b"], choose_by="generation", generation={})
        assert by_generation == (*metrics(labels=["a", "b"]), "invalid_share")

    def test_lines_are_continued_by_a_trained_run(self, toys: Any, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "train.jsonl", completed(24, 0))
        write_jsonl(tmp_path / "test.jsonl", completed(6, 100))
        recipe = recipe_of(toys, generation={"max_new_tokens": 4}).given()
        recipe["data"] = {"source": str(tmp_path)}
        peftkit.run(check(recipe, {}), tmp_path / "run")
        model = peftkit.load(tmp_path / "run")
        plain, asked = model.predict(["word1 word2", '{"prompt": "word1 word2"}'])
        [known] = model.predict([json.dumps(PAIR)])
        assert plain == asked and set(plain) == {"text", "extracted"}
        assert known["text"] == plain["text"] and known["tokens"] == 2


class TestLabels:
    LABELS = ("word50", "word51 word52", "word53")

    def test_the_label_taken_is_the_likeliest_completion(self, toys: Any) -> None:
        recipe = recipe_of(toys, labels=list(self.LABELS))
        task = task_of(recipe)
        model = load_base(recipe, task, torch.device("cpu")).model.eval()
        rows = [{"prompt": row["prompt"], "completion": "word50"} for row in completed(5, 0)]
        batch = task.collate([example for [example] in encoded(task, *rows)])
        with torch.no_grad():
            found = task.generate(model, batch)
            for row, reading in zip(rows, found, strict=True):
                sums = []
                for label in self.LABELS:
                    ids = task.processor(f"{row['prompt']} {label}")["input_ids"]  # bos and eos are the toy's own
                    chances = model(torch.tensor([ids])).logits[0].log_softmax(-1)
                    first = len(task.processor(row["prompt"])["input_ids"]) - 1
                    sums.append(sum(float(chances[i - 1, ids[i]]) for i in range(first, len(ids))))
                shares = torch.tensor(sums).softmax(0).tolist()
                assert reading["label"] == self.LABELS[max(range(3), key=sums.__getitem__)]
                assert list(reading["scores"].values()) == pytest.approx(shares, abs=1e-4)

    def test_what_is_written_is_a_label_or_invalid_and_never_another(self, toys: Any) -> None:
        recipe = recipe_of(toys, labels=list(self.LABELS), choose_by="generation", generation={"max_new_tokens": 4})
        shape = task_of(recipe).shape
        assert shape.named(" word50\n", None) == {"label": "word50", "valid": True, "text": " word50\n"}
        for text in ("word5", "word50 word50", ""):
            assert shape.named(text, None) == {"label": "", "valid": False, "text": text}
        assert shape.named("so word50, then", "word5[0-9]")["label"] == "word50"

    def test_an_invalid_answer_is_wrong_and_no_class(self, toys: Any, tmp_path: Path) -> None:
        """Right, wrong, invalid: F1 of word50 is 2·1·(1/2)/(1 + 1/2) = 2/3, of word53 0; their mean is 1/3."""
        from datasets import Dataset

        recipe = recipe_of(toys, labels=list(self.LABELS), choose_by="generation", generation={"max_new_tokens": 4})
        task = task_of(recipe)
        readings = [task.shape.named(text, None) for text in ("word50", "word53", "word9")]
        references = ["word50", "word50", "word53"]
        scores = {name: METRICS[name].compute(readings, references) for name in task.metrics}
        assert scores == pytest.approx({"accuracy": 1 / 3, "macro_f1": (2 / 3 + 0) / 2, "invalid_share": 1 / 3})
        assert set(task.detail(readings, references)["per_class"]) == {"word50", "word53"}
        rows = [{"prompt": row["prompt"], "completion": "word50"} for row in completed(5, 0)]
        base = load_base(recipe, task, torch.device("cpu"))
        untrained = encode(Dataset.from_list(rows), task, 32)
        found = evaluate(base.model, untrained, task, make_accelerator(recipe, tmp_path), 4)
        assert found.scores["accuracy"] + found.scores["invalid_share"] <= 1

    def test_a_label_is_told_from_its_beginning(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, labels=["word1", "word1 word2"]))
        assert task.shape.label_ids == [[word(1), EOS], [word(1), word(2), EOS]]

    def test_labels_that_the_tokenizer_cannot_tell_apart_are_refused(self, toys: Any) -> None:
        with pytest.raises(UserError, match="'yes' and 'no' are the same tokens to this tokenizer"):
            task_of(recipe_of(toys, labels=["word1", "yes", "no"]))

    def test_every_label_must_fit(self, toys: Any) -> None:
        task = task_of(recipe_of(toys, labels=list(self.LABELS)))
        with pytest.raises(RowError, match="prompt has 6 tokens, the longest label 3, the limit is 8"):
            encoded(task, {"prompt": "word1 " * 5, "completion": "word50"}, max_length=8)


class TestExtraction:
    GSM8K = "#### (-?[0-9.,]+)"

    def test_the_last_match_counts_by_its_first_group(self) -> None:
        assert text_prediction("#### 3 no, #### 1,200", self.GSM8K)["extracted"] == "1,200"
        assert text_prediction("12 and 34", "[0-9]+")["extracted"] == "34"

    def test_nothing_found_is_none_and_no_extractor_is_the_whole_text(self) -> None:
        assert text_prediction("about 7", self.GSM8K) == {"text": "about 7", "extracted": None}
        assert text_reference([" a ", "b"], None) == {"texts": [" a ", "b"], "extracted": ["a", "b"]}
