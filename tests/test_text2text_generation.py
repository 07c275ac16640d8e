"""Encoder–decoders: what becomes of the targets, and what is written. The contract's tests are in test_tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

import peftkit
from peftkit.contracts import IGNORED
from peftkit.data import encode
from peftkit.errors import RowError, UserError
from peftkit.evaluate import predict
from peftkit.methods import METHODS
from peftkit.model import load_base, load_config, load_processor
from peftkit.reading import ready
from peftkit.recipe import Recipe, check
from peftkit.tasks import TASKS
from peftkit.training import make_accelerator
from tests.conftest import SIZES, save_toy, write_jsonl
from tests.toy_tasks import written

KINDS = ("bart", "t5")
STARTS = {"bart": 2, "t5": 0}
"""decoder_start_token_id of the toys: [CLS] and [PAD]."""
ROWS = [
    {"text": "word1 word2", "target": "word3"},
    {"text": "word1", "target": "word3 word4 word5"},
    {"text": "word6 word7 word8 word9 word10", "target": "word11 word12"},
]


@pytest.fixture
def recipe_for(toys: Any, tmp_path: Path) -> Any:
    """``recipe_for("bart", prefix="word0 ")``: a recipe over a toy, its task's settings given."""

    def make(kind: str = "bart", method: Any = "lora", model: Any = None, **settings: Any) -> Recipe:
        rows = tmp_path / "rows"
        rows.mkdir(exist_ok=True)
        for split, count, offset in (("train", 48, 0), ("test", 13, 300)):
            write_jsonl(rows / f"{split}.jsonl", written(count, offset))
        quantization = settings.pop("quantization", "none")
        return check(
            {
                "model": str(model or toys(kind, "AutoModelForSeq2SeqLM")),
                "method": method,
                "quantization": quantization,
                "task": {"name": "text2text-generation", "generation": {"max_new_tokens": 6}, **settings},
                "data": str(rows),
                "training": {"max_steps": 4, "batch_size": 8, "eval_strategy": "no", "learning_rate": 1e-2},
            },
            {},
        )

    return make


def equipped(recipe: Recipe) -> Any:
    task = TASKS[recipe.task.name](recipe.task)
    task.equip(load_processor(recipe.model, task), load_config(recipe.model))
    return task


def encoded(task: Any, rows: list[dict[str, Any]], max_length: int = 32) -> list[dict[str, Any]]:
    names = {name for row in rows for name in row}
    return [one for (one,) in task.encode({name: [row[name] for row in rows] for name in names}, max_length)]


def model_of(recipe: Recipe, task: Any) -> Any:
    return load_base(recipe, task, torch.device("cpu")).model.eval()


@pytest.mark.parametrize("kind", KINDS)
class TestLabels:
    """What the decoder reads and what it has to say, for BART and T5 alike."""

    def test_the_decoder_reads_the_target_one_place_later(self, kind: str, recipe_for: Any) -> None:
        task = equipped(recipe_for(kind))
        batch = task.collate(encoded(task, ROWS[:2]))
        start = STARTS[kind]  # word3 is 8: five special tokens, then the words
        assert batch.labels.tolist() == [[2, 8, 3, IGNORED, IGNORED], [2, 8, 9, 10, 3]]
        assert batch.inputs["decoder_input_ids"].tolist() == [[start, 2, 8, 0, 0], [start, 2, 8, 9, 10]]
        assert batch.inputs["decoder_attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
        assert batch.inputs["input_ids"].tolist() == [[2, 6, 7, 3], [2, 6, 3, 0]]
        assert task.supervised(batch) == 8
        assert [task.length(example) for example in batch.examples] == [4 + 3, 3 + 5]
        assert batch.padded_tokens == 2 * 4 + 2 * 5

    def test_the_loss_is_transformers_own(self, kind: str, recipe_for: Any) -> None:
        recipe = recipe_for(kind)
        task = equipped(recipe)
        model, batch = model_of(recipe, task), task.collate(encoded(task, ROWS))
        with torch.no_grad():
            ours = task.loss(model(**batch.inputs), batch)
            mean = model(
                input_ids=batch.inputs["input_ids"],
                attention_mask=batch.inputs["attention_mask"],
                labels=batch.labels,
            ).loss
        torch.testing.assert_close(ours, mean * task.supervised(batch))

    @pytest.mark.parametrize("beams", [1, 3])
    def test_a_batch_is_written_as_row_by_row(self, kind: str, beams: int, recipe_for: Any, tmp_path: Path) -> None:
        recipe = recipe_for(kind, generation={"max_new_tokens": 5, "num_beams": beams, "repetition_penalty": 2.0})
        task = equipped(recipe)
        model = model_of(recipe, task)
        rows = Dataset.from_list(
            [{"text": " ".join(f"word{i * k % 60}" for k in range(1, 2 + i))} for i in range(1, 9)]
        )
        examples = encode(rows, task, 32, labelled=False)
        accelerator = make_accelerator(recipe, tmp_path)
        single, together = (predict(model, examples, task, accelerator, size) for size in (1, 8))
        assert single == together
        assert len({prediction["text"] for prediction in together}) > 1  # it says something of the rows

    @pytest.mark.parametrize(
        "method, quantization",
        [
            ("lora", "none"),
            ("lora", "8bit"),
            ("lora", "4bit"),
            ("bottleneck", "none"),
            ("full", "none"),
            ({"name": "prefix-tuning", "num_virtual_tokens": 4}, "none"),
            ({"name": "prefix-tuning", "num_virtual_tokens": 4, "prefix_projection": True}, "none"),
        ],
        ids=str,
    )
    def test_methods_train_and_their_models_load_again(
        self, kind: str, method: Any, quantization: str, recipe_for: Any, tmp_path: Path
    ) -> None:
        record = peftkit.run(recipe_for(kind, method, quantization=quantization), tmp_path / "run")  # checks logits
        again = peftkit.load(tmp_path / "run")
        assert again.evaluate("test").scores == pytest.approx(record.scores, rel=1e-4)
        assert set(again.predict(["word1 word2"])[0]) == {"text", "extracted"}


def test_full_keeps_tied_embeddings_tied(recipe_for: Any, tmp_path: Path) -> None:
    peftkit.run(recipe_for("t5", "full"), tmp_path / "run")
    model: Any = peftkit.load(tmp_path / "run").model
    assert model.lm_head.weight.data_ptr() == model.shared.weight.data_ptr()


def test_bitfit_trains_bart_and_is_refused_for_t5_which_has_no_biases(recipe_for: Any, tmp_path: Path) -> None:
    peftkit.run(recipe_for("bart", "bitfit"), tmp_path / "run")
    with pytest.raises(UserError, match="a t5 model has no biases to train"):
        peftkit.run(recipe_for("t5", "bitfit"), tmp_path / "other")


def test_a_prefix_fits_a_decoder_unlike_its_encoder(recipe_for: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """More decoder than encoder layers, and heads that are not a share of the hidden size, as in FLAN-T5."""
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_decoder_layers": 3, "num_heads": 3}
    monkeypatch.setitem(SIZES, "t5", sizes)
    toy = save_toy(tmp_path / "toy", "t5", auto_class="AutoModelForSeq2SeqLM")
    recipe = recipe_for(method={"name": "prefix-tuning", "num_virtual_tokens": 4}, model=toy)
    record = peftkit.run(recipe, tmp_path / "run")
    tokens, layers, keys_and_values, heads, width = 4, 3, 2, 3, 8
    assert record.costs["trainable_parameters"] == tokens * layers * keys_and_values * heads * width


class TestTargets:
    """Lengths, prefixes, several acceptable texts, another tokenizer."""

    def test_what_is_too_long_is_cut_keeps_its_closing_token_and_is_counted(self, recipe_for: Any) -> None:
        task = equipped(recipe_for(max_target_length=4))
        fits, long_target, long_source = encoded(
            task,
            [
                {"text": "word1 word2", "target": "word1 word2"},
                {"text": "word1", "target": "word1 word2 word3"},
                {"text": "word1 word2 word3", "target": "word1"},
            ],
            max_length=4,
        )
        assert fits["labels"] == [2, 6, 7, 3] and "cut" not in fits
        assert long_target["labels"] == [2, 6, 7, 3] and long_target["cut"] is True
        assert long_source["input_ids"] == [2, 6, 7, 3] and long_source["cut"] is True

    def test_targets_have_the_decoders_room_by_default_not_the_sources(self, recipe_for: Any) -> None:
        task = equipped(recipe_for("bart"))
        (example,) = encoded(task, [{"text": "word1", "target": " ".join(["word1"] * 80)}], max_length=8)
        assert len(example["labels"]) == 66 and example["cut"]  # the toy's max_position_embeddings

    def test_the_prefix_stands_before_every_text(self, recipe_for: Any) -> None:
        plain, with_prefix = equipped(recipe_for()), equipped(recipe_for(prefix="word0 "))
        said = [{**row, "text": f"word0 {row['text']}"} for row in ROWS]
        assert encoded(with_prefix, ROWS) == encoded(plain, said)

    def test_of_several_texts_the_first_is_learnt_and_each_is_right(self, recipe_for: Any, tmp_path: Path) -> None:
        recipe = recipe_for()
        task = equipped(recipe)
        row = {"text": "word1", "target": ["word3", "word4 word5"]}
        assert encoded(task, [row])[0]["labels"] == [2, 8, 3]
        reference = task.reference(row)
        assert reference == {"texts": ["word3", "word4 word5"], "extracted": ["word3", "word4 word5"]}

    def test_exact_match_compares_what_the_extractor_takes_out(self, recipe_for: Any) -> None:
        task = equipped(recipe_for(extract=r"word(\d+)"))
        assert task.reference({"target": "word3 word7"})["extracted"] == ["7"]

    @pytest.mark.parametrize(
        "row, told",
        [
            ({"target": ""}, "column 'target' holds an empty text"),
            ({"target": []}, "column 'target' holds an empty text"),
            ({"target": ["word1", " "]}, "column 'target' holds an empty text"),
            ({"target": 3}, "column 'target' holds 3, which is neither text nor a list of texts"),
            ({"target": ["word1", 3]}, r"column 'target' holds \['word1', 3\], which is neither"),
            ({"target": {"en": "word1"}}, "which is neither text nor a list of texts"),
            ({"text": 3}, "column 'text' holds 3, which is not text"),
            ({"text": "\n"}, "column 'text' holds an empty text"),
        ],
    )
    def test_a_row_without_texts_is_refused_by_its_number(self, row: Any, told: str, recipe_for: Any) -> None:
        with pytest.raises(RowError, match=told) as error:
            encoded(equipped(recipe_for()), [ROWS[0], {**ROWS[1], **row}])
        assert error.value.row == 1

    def test_another_tokenizer_makes_and_reads_the_targets(self, recipe_for: Any, tmp_path: Path) -> None:
        recipe = recipe_for(target_tokenizer=str(reversed_tokenizer(tmp_path / "other")))
        task = equipped(recipe)
        (example,) = encoded(task, [{"text": "word1", "target": "word1"}])
        assert example["input_ids"] == [2, 6, 3]
        assert example["labels"] == [63, 3]  # words are numbered from the end, and no [CLS] stands before them
        assert task.target_processor.decode(example["labels"], skip_special_tokens=True) == "word1"
        model, accelerator = model_of(recipe, task), make_accelerator(recipe, tmp_path)
        rows = encode(Dataset.from_list(ROWS), task, 32)
        with_other, with_own = (
            " ".join(found["text"] for found in predict(model, rows, one, accelerator, 3)).split()
            for one in (task, equipped(recipe_for()))
        )
        assert with_own and [f"word{59 - int(word.removeprefix('word'))}" for word in with_own] == with_other

    def test_what_was_encoded_for_another_target_tokenizer_is_not_used(self, recipe_for: Any, tmp_path: Path) -> None:
        folder = tmp_path / "other"
        found = []
        for step in (1, -1):
            reversed_tokenizer(folder, step)
            task = equipped(recipe_for(target_tokenizer=str(folder)))
            found.append(encode(Dataset.from_list(ROWS), task, 32).examples[0]["labels"])
        assert found[0] != found[1]

    def test_token_types_that_a_tokenizer_makes_are_left_out(self, recipe_for: Any, toys: Any) -> None:
        """BERT's tokenizer comes with some Chinese BARTs, whose models take no token types."""
        from transformers import AutoTokenizer

        recipe = recipe_for()
        task = TASKS[recipe.task.name](recipe.task)
        task.equip(AutoTokenizer.from_pretrained(toys("bert")), load_config(recipe.model))
        assert "token_type_ids" in task.processor("word1")
        batch = task.collate(encoded(task, ROWS))
        assert set(batch.inputs) == {"input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"}
        assert len(task.generate(model_of(recipe, task), batch)) == len(ROWS)

    def test_a_tokenizer_written_in_python_serves_too(self, recipe_for: Any) -> None:
        """ByT5's has no file of its own and no compiled part."""
        from transformers import ByT5Tokenizer

        recipe = recipe_for()
        task = TASKS[recipe.task.name](recipe.task)
        task.equip(ByT5Tokenizer(), load_config(recipe.model))
        rows = encode(Dataset.from_list([{"text": "ab", "target": "c"}]), task, 32)
        assert rows.examples == [{"input_ids": [100, 101, 1], "labels": [102, 1]}]  # bytes + 3, then </s>


class TestRefused:
    """Recipes that a base cannot serve: one line, by the setting."""

    def refused(self, recipe: Recipe, key: tuple[str, ...], told: str) -> None:
        with pytest.raises(UserError, match=told) as error:
            equipped(recipe)
        assert error.value.key == key and "\n" not in str(error.value)

    def test_a_decoder_or_an_encoder_alone(self, recipe_for: Any, toys: Any) -> None:
        told = "text2text-generation needs an encoder–decoder such as BART or T5, and a gpt2 model is none"
        self.refused(recipe_for(model=toys("gpt2")), ("model", "name"), told)

    def test_a_config_without_decoder_start(self, recipe_for: Any, toys: Any) -> None:
        recipe = recipe_for("t5")
        task, config = TASKS[recipe.task.name](recipe.task), load_config(recipe.model)
        config.decoder_start_token_id = None
        with pytest.raises(UserError, match="t5 model names no decoder_start_token_id"):
            task.equip(load_processor(recipe.model, task), config)

    def test_a_target_tokenizer_that_is_not_there(self, recipe_for: Any, tmp_path: Path) -> None:
        recipe = recipe_for(target_tokenizer=str(tmp_path / "none"))
        self.refused(recipe, ("task", "target_tokenizer"), f"{tmp_path}/none: no tokenizer can be loaded from there")

    def test_a_target_tokenizer_with_more_tokens_than_the_model(self, recipe_for: Any, tmp_path: Path) -> None:
        reversed_tokenizer(tmp_path / "other", more=3)
        recipe = recipe_for(target_tokenizer=str(tmp_path / "other"))
        self.refused(recipe, ("task", "target_tokenizer"), "other: has 68 tokens, but the model can write 65")

    def test_more_than_the_decoder_has_positions_for(self, recipe_for: Any) -> None:
        self.refused(recipe_for(max_target_length=67), ("task", "max_target_length"), "67 tokens asked, but .* 66")
        recipe = recipe_for(generation={"max_new_tokens": 67})
        self.refused(recipe, ("task", "generation", "max_new_tokens"), "67 tokens asked, but .* 66 positions")

    def test_targets_of_nothing_but_special_tokens(self, recipe_for: Any) -> None:
        self.refused(recipe_for(max_target_length=2), ("task", "max_target_length"), "2 tokens leave no room")

    def test_an_encoder_decoder_classifier_takes_no_prefix(self, recipe_of: Any, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="encoder-decoder classifiers take no prefix"):
            peftkit.run(recipe_of("prefix-tuning", "bart"), tmp_path / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_the_checkpoints_own_rules_of_writing_are_kept(kind: str, recipe_for: Any, tmp_path: Path) -> None:
    """``forced_bos_token_id`` and what else the recipe does not name comes from generation_config.json."""
    from transformers import GenerationConfig

    toy = save_toy(tmp_path / "toy", kind, auto_class="AutoModelForSeq2SeqLM")
    recipe = recipe_for(model=toy)
    task = equipped(recipe)
    batch = task.collate(encoded(task, [{"text": "word1 word2"}]))
    first = task.generate(model_of(recipe, task), batch)[0]["text"].split()
    rules = GenerationConfig.from_pretrained(toy)
    rules.forced_bos_token_id = 17  # word12
    rules.save_pretrained(toy)
    forced = task.generate(model_of(recipe, task), batch)[0]["text"].split()
    assert forced[0] == "word12" and first[:1] != ["word12"]


def test_names_of_the_hub_are_one_task_with_other_columns_and_scores() -> None:
    made = {name: TASKS[name](TASKS[name].settings_class()) for name in ("summarization", "translation")}
    assert made["summarization"].columns() == {"text": "text", "text_target": "summary"}
    assert made["summarization"].metrics == ("rouge1", "rouge2", "rougeL")
    assert made["translation"].columns() == {"text": "source", "text_target": "target"}
    assert made["translation"].metrics == ("bleu", "chrf", "exact_match")
    assert {type(task).__mro__[1].__name__ for task in made.values()} == {"Text2TextGeneration"}


def reversed_tokenizer(folder: Path, step: int = -1, more: int = 0) -> Path:
    """A tokenizer whose words are numbered from the end (or not, with step 1) and that adds [SEP] alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from tests.conftest import SPECIAL, WORDS

    words = [*SPECIAL, *WORDS[::step], *(f"more{i}" for i in range(more))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", eos_token="[SEP]"
    )
    fast.save_pretrained(folder)
    return folder


def test_a_text_longer_than_what_virtual_tokens_leave_the_decoder_is_refused(recipe_for: Any) -> None:
    """66 positions, 30 of them the prefix's: BART would run out of them while it writes."""
    recipe = recipe_for(method={"name": "prefix-tuning", "num_virtual_tokens": 30}, generation={"max_new_tokens": 40})
    with pytest.raises(UserError, match="40 tokens asked, but the decoder has 36 positions") as error:
        ready(recipe, METHODS["prefix-tuning"](recipe.method), TASKS[recipe.task.name](recipe.task))
    assert error.value.key == ("task", "generation", "max_new_tokens")
