"""Question answering: windows, characters, spans, the threshold of no answer, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import peftkit
from peftkit.errors import RowError, UserError
from peftkit.methods.prefix_tuning import PrefixTuning, PrefixTuningSettings
from peftkit.metrics import METRICS
from peftkit.model import load_base, load_config, load_processor
from peftkit.recipe import check
from peftkit.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings
from peftkit.tasks.question_answering.answers import Answers
from peftkit.tasks.question_answering.contexts import characters, context_windows, overlap, place_of
from peftkit.tasks.question_answering.spans import best_null_threshold, best_spans, merged, softmax
from tests.conftest import save_toy, write_jsonl
from tests.toy_tasks import located, partly_located

CPU = torch.device("cpu")
CONTEXT = "  Der Café-Besitzer 👩‍🚀 aß\tcre\u0300me brûlée in 東京都, dann\u00a0schlief er.\n\nEnde  "


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2's: bytes, blanks belong to the token, no special tokens around."""
    alphabet = {sign: number for number, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="!", eos_token="!", model_max_length=64)


def uncased() -> PreTrainedTokenizerFast:
    """As BERT's: accents and case are lost, Chinese characters stand alone, pieces of one character."""
    signs = {normalizers.BertNormalizer().normalize_str(sign) for sign in CONTEXT} | set("ae")
    pieces = [piece for sign in sorted(signs) if sign.strip() for piece in (sign, f"##{sign}")]
    vocabulary = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", padding_side="left"
    )


def task_on(folder: Path, **settings: Any) -> tuple[Any, QuestionAnswering]:
    """A recipe over the toy in `folder` and its task, equipped."""
    data = {"model": str(folder), "method": "lora", "task": {"name": "question-answering", **settings}, "data": "none"}
    recipe = check({**data, "training": {"max_length": 32}}, {})
    task = QuestionAnswering(recipe.task)  # type: ignore[arg-type]
    task.equip(load_processor(recipe.model, task), load_config(recipe.model))
    return recipe, task


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("make", [byte_level, uncased])
class TestWindows:
    def test_the_characters_of_an_answer_come_back(self, make: Any) -> None:
        (window,) = context_windows(make(), ["wo?"], [CONTEXT], 500, None)[0]
        for answer in ("Der", "Café", "👩‍🚀", "cre\u0300me brûlée", "東京", "京都", "schlief er.", "Ende"):
            start = CONTEXT.index(answer)
            place = place_of(window, start, start + len(answer))
            assert place is not None
            starts, ends = characters(window)
            first, last = (position - window["first"] for position in place)
            found = CONTEXT[starts[first] : ends[last]]
            assert answer in found and (found == answer or make is uncased)  # an unknown word is one token
            assert found == found.strip()

    def test_every_answer_up_to_the_overlap_is_whole_in_some_window(self, make: Any) -> None:
        tokenizer = make()
        (whole,) = context_windows(tokenizer, ["ae"], [CONTEXT], 500, None)[0]
        starts, ends = characters(whole)
        for limit in (7, 9, 16, 40, 70):
            for stride in (None, 0, 1, 3, 20, 300):
                room = limit - (len(whole["input_ids"]) - len(starts))
                shared = overlap(stride, room)
                assert 0 <= shared < room
                windows = context_windows(tokenizer, ["ae"], [CONTEXT], limit, stride)[0]
                assert all(len(window["input_ids"]) <= limit for window in windows)
                for first in range(len(starts)):
                    last = min(first + shared, len(starts) - 1)
                    if starts[first] < ends[first] and starts[last] < ends[last]:
                        span = (starts[first], ends[last])
                        assert any(place_of(window, *span) for window in windows), (limit, stride, span)

    def test_nothing_is_answered_at_the_cls_token_or_the_first(self, make: Any) -> None:
        tokenizer = make()
        for window in context_windows(tokenizer, ["[CLS] ae"], [CONTEXT], 40, None)[0]:
            assert window["null"] == 0 < window["first"]
            assert (window["input_ids"][0] == tokenizer.cls_token_id) == (make is uncased)

    def test_a_question_without_room_for_its_context_is_refused(self, make: Any) -> None:
        with pytest.raises(RowError, match=r"the question takes .* leaves no room for its context: 8 fit") as error:
            context_windows(make(), ["a", "a e a e a e a e"], ["e", "e"], 8, None)
        assert error.value.row == 1

    def test_a_context_without_tokens_is_refused(self, make: Any) -> None:
        with pytest.raises(RowError, match="finds no token in the context"):
            context_windows(make(), ["a"], [" \n " if make is byte_level else "\u200b"], 20, None)


class TestSpans:
    @pytest.mark.parametrize("longest", [1, 3, 50])
    def test_the_best_are_those_of_all_pairs(self, longest: int) -> None:
        torch.manual_seed(0)
        start, end = torch.randn(2, 5, 12)
        allowed = torch.rand(5, 12) > 0.3
        for row, found in enumerate(best_spans(start, end, allowed, longest, 7)):
            pairs = [
                (i, j, float(start[row, i] + end[row, j]))
                for i in range(12)
                for j in range(i, min(i + longest, 12))
                if allowed[row, i] and allowed[row, j]
            ]
            assert found == sorted(pairs, key=lambda pair: -pair[2])[:7]

    def test_windows_are_merged_and_no_span_counts_twice(self) -> None:
        assert merged([[(0, 3, 1.0), (5, 6, 0.5)], [(0, 3, 2.0), (7, 9, 1.5)]], 2) == [(0, 3, 2.0), (7, 9, 1.5)]
        assert softmax([0.0, 0.0, -1e9]) == [0.5, 0.5, 0.0]

    def test_the_threshold_is_the_best_there_is(self) -> None:
        generator = random.Random(0)
        for size in (1, 2, 9, 30):
            for _ in range(40):
                margins = [generator.choice([-2.0, -1.0, 0.5, generator.gauss(0, 2)]) for _ in range(size)]
                answered = [generator.choice([0.0, 0.4, 1.0]) for _ in range(size)]
                silent = [float(score == 0.0 and generator.random() < 0.7) for score in answered]

                def total(threshold: float, rows: Any = (margins, answered, silent)) -> float:
                    return sum(given if margin > threshold else none for margin, given, none in zip(*rows, strict=True))

                chosen = best_null_threshold(margins, answered, silent)
                possible = [total(bound) for bound in (*margins, min(margins) - 1)]
                assert total(chosen) == pytest.approx(max(possible))


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2", "llama"])
def test_the_loss_is_that_of_transformers_where_nothing_is_padded(kind: str, toys: Any) -> None:
    recipe, task = task_on(toys(kind))
    model = load_base(recipe, task, CPU).model.eval()
    rows = [row for row in partly_located(40, 0) if len(row["context"].split()) > 8]
    examples = [windows[0] for windows in task.encode(columns(rows), 13)]  # cut to equal lengths
    batch = task.collate(examples)
    assert batch.inputs["attention_mask"].all()
    own = task.loss(model(**batch.inputs), batch) / task.supervised(batch)
    start, end = batch.labels.unbind(1)  # type: ignore[union-attr]
    torch.testing.assert_close(own, model(**batch.inputs, start_positions=start, end_positions=end).loss)


def test_a_window_without_the_whole_answer_points_to_null_and_an_answer_in_none_is_counted(toys: Any) -> None:
    _, task = task_on(toys("bert"), stride=0)
    context = "word10 word11 word12 word13 word14 word15"
    row = {"question": "word1", "context": context, "answers": {"text": ["word12"], "answer_start": [14]}}
    first, second = task.encode(columns([row]), 7)[0]
    assert (first["labels"], second["labels"]) == ([5, 5], [0, 0]) and "cut" not in first
    row["answers"] = {"text": ["word12 word13"], "answer_start": [14]}
    first, second = task.encode(columns([row]), 7)[0]
    assert (first["labels"], second["labels"]) == ([0, 0], [0, 0]) and first["cut"]


class TestAnswers:
    def test_the_first_is_learnt_and_all_are_acceptable(self) -> None:
        cell = {"text": [" er", "ist", " er"], "answer_start": [4, 0, 4]}
        assert Answers("a").checked(cell, "ist  er da", 0) == (5, 7)
        assert Answers("a").texts(cell) == [" er", "ist"]
        assert Answers("a").checked({"text": [], "answer_start": []}, "x", 0) is None

    @pytest.mark.parametrize(
        "cell, told",
        [
            ({"text": ["da"], "answer_start": [0]}, "^the answer 'da' is not at 0 of its context but at 7$"),
            ({"text": ["da", "da"], "answer_start": [7, -3]}, "^the answer 'da' is not at -3 of its context but at 7$"),
            ({"text": ["Da"], "answer_start": [7]}, "^the answer 'Da' is not in its context$"),
            ({"text": ["da"]}, "holds answers without answer_start"),
            ({"text": ["da"], "answer_start": [7, 7]}, "with as many texts as numbers"),
            ({"text": ["da"], "answer_start": ["7"]}, "with as many texts as numbers"),
            ({"text": [""], "answer_start": [7]}, "holds an empty answer"),
            ([{"text": "da", "answer_start": 7}], "with as many texts as numbers"),
            ("da", "column 'a' holds 'da', which is not"),
        ],
    )
    def test_a_wrong_cell_is_told_with_its_row(self, cell: Any, told: str) -> None:
        with pytest.raises(RowError, match=told) as error:
            Answers("a").checked(cell, "ist er da", 3)
        assert error.value.row == 3 and error.value.key == ("task", "answers")


class TestPredictions:
    ROW = {"context": "ist er da"}

    def task(self, unanswerable: bool, **settings: Any) -> QuestionAnswering:
        task = QuestionAnswering(QuestionAnsweringSettings(**settings))
        task.learn({"answers": [{"text": [] if unanswerable else ["da"], "answer_start": []}]})  # type: ignore[arg-type]
        return task

    def test_the_answer_is_the_context_between_its_characters(self) -> None:
        readings = [{"null": 3.0, "spans": [[0, 3, 1.0]]}, {"null": 1.0, "spans": [[7, 9, 2.0], [4, 9, 0.0]]}]
        found = self.task(True).join(self.ROW, readings)
        assert (found["answer"], found["start"], found["end"]) == ("da", 7, 9)
        assert (found["null_score"], found["margin"]) == (1.0, 1.0)  # the lowest null, the highest span
        assert [candidate["answer"] for candidate in found["n_best"]] == ["da", "ist", "er da"]
        shares = [candidate["score"] for candidate in found["n_best"]]
        silent = self.task(True, null_threshold=1.0).join(self.ROW, readings)
        assert (silent["answer"], silent["start"], silent["end"]) == ("", None, None)
        assert sum(shares) + silent["score"] == pytest.approx(1.0) and found["score"] == shares[0]

    def test_without_an_unanswerable_training_row_there_is_always_an_answer(self) -> None:
        task = self.task(False)
        found = task.join(self.ROW, [{"null": 99.0, "spans": [[0, 3, 1.0]]}])
        assert found["answer"] == "ist" and found["score"] == 1.0 and not task.calibrated
        assert task.metrics == ("squad_exact_match", "squad_f1")

    def test_the_threshold_is_chosen_kept_and_restored(self) -> None:
        task = self.task(True)
        assert task.calibrated and "squad_no_answer_accuracy" in task.metrics
        readings = [[{"null": 0.0, "spans": [[7, 9, margin]]}] for margin in (3.0, 1.0, -1.0)]
        task.calibrate([self.ROW] * 3, readings, [["da"], ["da"], []])
        assert task.threshold == 0.0
        task.calibrate([self.ROW] * 3, readings, [["da"], [], []])
        assert task.threshold == 2.0
        again = QuestionAnswering(task.settings)
        again.restore(task.config())
        assert again.threshold == 2.0 and again.metrics == task.metrics
        fixed = self.task(True, null_threshold=-4.5)
        assert not fixed.calibrated and fixed.threshold == -4.5

    def test_chinese_answers_are_calibrated_by_the_chinese_score(self) -> None:
        row, metrics = {"context": "東京都大阪"}, ["cmrc_exact_match", "cmrc_f1"]
        task = self.task(True, metrics=metrics)
        readings = [[{"null": 0.0, "spans": [[0, 2, margin]]}] for margin in (2.0, 1.0)]
        references = [["大阪"], ["東京都"]]  # the second is half right in Chinese, wrong as a word
        task.calibrate([row] * 2, readings, references)
        assert task.threshold is not None and task.threshold < 1.0
        assert METRICS["cmrc_f1"].compute([task.join(row, one) for one in readings], references) == pytest.approx(0.4)

    def test_a_line_is_json_or_two_texts(self) -> None:
        task = self.task(False, question="q", context="c")
        assert task.row('{"q": "wer?", "c": "er", "more": 1}') == {"q": "wer?", "c": "er"}
        assert task.row("wer?\ter\tda") == {"q": "wer?", "c": "er\tda"}
        for line in ("wer?", '{"q": "wer?"}'):
            with pytest.raises(UserError, match="write JSON with 'q' and 'c', or both with a tab between"):
                task.row(line)


def test_a_prefix_lets_token_types_through(toys: Any, tmp_path: Path) -> None:
    recipe, task = task_on(toys("bert"))
    method = PrefixTuning(PrefixTuningSettings(num_virtual_tokens=3))
    model = method.attach(load_base(recipe, task, CPU), 1).eval()
    method.save(model, tmp_path)
    batch = task.collate([windows[0] for windows in task.encode(columns(located(5, 0)), 32)])
    changed = {**batch.inputs, "token_type_ids": 1 - batch.inputs["token_type_ids"]}
    again = method.load(load_base(recipe, task, CPU, seed=7), tmp_path).eval()
    with torch.no_grad():
        plain = model(**batch.inputs).start_logits
        assert (plain - model(**changed).start_logits).abs().max() > 1e-3
        torch.testing.assert_close(again(**batch.inputs).start_logits, plain)


def test_a_causal_checkpoint_that_transformers_would_not_read_is_refused(toys: Any) -> None:
    recipe, task = task_on(toys("llama", "AutoModelForCausalLM"))
    with pytest.raises(UserError, match="the checkpoint does not fit LlamaForQuestionAnswering"):
        load_base(recipe, task, CPU)


@pytest.mark.parametrize(
    "kind, method, extra",
    [("gpt2", "lora", {}), ("bert", "lora", {"quantization": "4bit"}), ("bert", "prefix-tuning", {})],
)
def test_it_runs_where_no_special_token_stands_quantized_and_prefixed(
    kind: str, method: str, extra: dict[str, Any], tmp_path: Path
) -> None:
    folder = save_toy(tmp_path / "model", kind)
    if kind == "gpt2":
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
        tokenizer.save_pretrained(folder)
    for split, count in (("train", 24), ("validation", 9)):
        write_jsonl(tmp_path / f"{split}.jsonl", partly_located(count, 0))
    settings = {"model": str(folder), "method": method, "task": "question-answering", "data": str(tmp_path), **extra}
    training = {"epochs": 1.0, "batch_size": 8, "max_length": 32, "eval_strategy": "no"}
    record = peftkit.run(check({**settings, "training": training}, {}), tmp_path / "run")
    model = peftkit.load(tmp_path / "run")
    context = "word11 word1 word12"
    (found,) = model.predict([f"word58 word59\t{context}"])
    assert found["answer"] == (context[found["start"] : found["end"]] if found["answer"] else "")
    assert model.task.config()["null_threshold"] == record.detail["null_threshold"]
