"""Multiple choice: whose numbers the head's are, likelihoods by hand, which answers are read and which are refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import peftkit
from peftkit.contracts import Task
from peftkit.errors import RowError, UserError
from peftkit.evaluate import evaluate
from peftkit.model import load_base, load_config, load_processor
from peftkit.recipe import Recipe
from peftkit.tasks import TASKS
from peftkit.tasks.multiple_choice.choices import Choices
from peftkit.training import make_accelerator
from tests.test_tasks import equipped, recipe_for
from tests.toy_tasks import TOYS, Toy

CPU = torch.device("cpu")
HEAD, LIKELIHOOD = TOYS["multiple-choice"], TOYS["multiple-choice, likelihood"]


def ready(toys: Any, folder: Path, toy: Toy = HEAD, kind: str | None = None, **settings: Any) -> tuple[Task, Any]:
    """A task with its tokenizer, and its base model in evaluation mode."""
    task, recipe = unready(toys, folder, toy, kind, **settings)
    task.equip(load_processor(recipe.model, task), load_config(recipe.model))
    return task, load_base(recipe, task, CPU).model.eval()


def unready(toys: Any, folder: Path, toy: Toy, kind: str | None, **settings: Any) -> tuple[Task, Recipe]:
    recipe = recipe_for(varied(toy, kind, **settings), toys, folder)
    return TASKS[recipe.task.name](recipe.task), recipe


def varied(toy: Toy, kind: str | None = None, **settings: Any) -> Toy:
    """The toy on another architecture, or with other settings."""
    return Toy(**{**vars(toy), "kind": kind or toy.kind, "task": {**toy.task, **settings}})


def pieces(*vocabulary: str, merges: Sequence[tuple[str, str]] = ()) -> Any:
    """A tokenizer of these pieces, numbered from 1, that adds nothing to a text; 0 is the end of a text."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    numbers = {piece: number for number, piece in enumerate(["</s>", *vocabulary])}
    tokenizer = Tokenizer(models.BPE(numbers, list(merges), unk_token="</s>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def rows(*choices: list[str], answer: int = 0, question: str = "word40 word41") -> dict[str, list[Any]]:
    """Rows with these choices as columns."""
    return {"question": [question] * len(choices), "choices": list(choices), "answer": [answer] * len(choices)}


def examples(task: Task, columns: dict[str, list[Any]], max_length: int = 32) -> list[dict[str, Any]]:
    return [example for (example,) in task.encode(columns, max_length)]


class TestHead:
    """Every pair of question and choice through a head with one output."""

    def test_its_numbers_are_those_of_transformers_model_for_multiple_choice(self, toys: Any, tmp_path: Path) -> None:
        from transformers import BertForMultipleChoice

        task, model = ready(toys, tmp_path)
        theirs = BertForMultipleChoice(model.config).eval()
        theirs.load_state_dict(model.state_dict())
        batch = task.collate(examples(task, rows(["word1", "word2 word3", "word4"], ["word5 word6", "word7", "word8"])))
        folded = {name: tensor.view(2, 3, -1) for name, tensor in batch.inputs.items()}
        with torch.no_grad():
            outputs, expected = model(**batch.inputs), theirs(**folded, labels=batch.labels)
        torch.testing.assert_close(outputs.logits.view(2, 3), expected.logits, rtol=0, atol=0)
        torch.testing.assert_close(task.loss(outputs, batch), expected.loss * 2)

    def test_rows_of_two_three_and_five_choices_each_have_their_own_loss(self, toys: Any, tmp_path: Path) -> None:
        task, model = ready(toys, tmp_path)
        texts = [f"word{i} word{i + 7}" for i in range(5)]
        batch = task.collate(examples(task, rows(texts[:2], texts[:3], texts, answer=1)))
        assert batch.inputs["input_ids"].shape[0] == 2 + 3 + 5
        assert batch.labels is not None and task.supervised(batch) == 3
        with torch.no_grad():
            outputs = model(**batch.inputs)
        parts = outputs.logits[:, 0].split([2, 3, 5])
        expected = sum(-(part[1] - part.exp().sum().log()) for part in parts)
        torch.testing.assert_close(task.loss(outputs, batch), expected)
        scores = [reading["scores"] for reading in task.read(outputs, batch)]
        assert [len(row) for row in scores] == [2, 3, 5]
        assert [sum(row) for row in scores] == pytest.approx([1.0, 1.0, 1.0])

    def test_gradients_are_finite_where_rows_differ_in_number(self, toys: Any, tmp_path: Path) -> None:
        task, _ = ready(toys, tmp_path)
        batch = task.collate(examples(task, rows(["word1", "word2"], ["word1", "word2", "word3"])))
        logits = torch.zeros(5, 1, requires_grad=True)
        task.loss(SimpleNamespace(logits=logits), batch).backward()  # softmax - one-hot, by hand
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad[:, 0], torch.tensor([-1 / 2, 1 / 2, -2 / 3, 1 / 3, 1 / 3]))

    @pytest.mark.parametrize("kind", ["roberta", "deberta-v2", "gpt2", "llama", "t5", "bart"])
    def test_every_architecture_that_classifies_can_choose(self, kind: str, toys: Any, tmp_path: Path) -> None:
        recipe = recipe_for(varied(HEAD, kind), toys, tmp_path)
        task, encoded = equipped(recipe)
        model = load_base(recipe, task, CPU).model
        assert model.config.num_labels == 1 and model.config.problem_type == "multi_label_classification"
        found = [evaluate(model, encoded, task, make_accelerator(recipe, tmp_path), size) for size in (1, 9)]
        assert found[0].scores == pytest.approx(found[1].scores, rel=1e-4)
        assert found[0].detail == {"chance": pytest.approx((11 / 2 + 10 / 3 + 10 / 4) / 31)}

    @pytest.mark.parametrize("kind", ["bart", "t5"])
    def test_a_text_with_the_end_token_an_encoder_decoder_pools_at_is_refused(
        self, kind: str, toys: Any, tmp_path: Path
    ) -> None:
        task, _ = ready(toys, tmp_path, kind=kind)
        with pytest.raises(RowError, match=r"choice 1: a text holds the model's end token '\[SEP\]'"):
            examples(task, rows(["word1", "word2 [SEP]"]))

    def test_a_long_pair_loses_the_beginning_of_its_question(self, toys: Any, tmp_path: Path) -> None:
        task, _ = ready(toys, tmp_path, context="context")
        long = " ".join(f"word{i}" for i in range(20))
        columns = rows(["word50", "word51 word52 word53"], question=long) | {"context": ["word58 word59"]}
        (whole,), (cut,) = examples(task, columns), examples(task, columns, max_length=10)
        assert not whole.get("cut") and cut["cut"]
        words = [task.processor.decode(ids) for ids in cut["input_ids"]]
        assert words[0] == "[CLS] word14 word15 word16 word17 word18 word19 [SEP] word50 [SEP]"
        assert words[1] == "[CLS] word16 word17 word18 word19 [SEP] word51 word52 word53 [SEP]"
        assert task.processor.decode(whole["input_ids"][0]).startswith("[CLS] word58 word59 word0 word1")
        assert cut["token_type_ids"][1] == [0] * 6 + [1] * 4 and task.length(cut) == 20
        with pytest.raises(RowError, match=r"choice 1 takes 6 tokens .* leaves the question no room in 6"):
            examples(task, columns, max_length=6)

    def test_without_a_token_between_the_texts_a_space_parts_them(self, toys: Any, tmp_path: Path) -> None:
        task, _ = ready(toys, tmp_path, kind="gpt2")
        task.equip(pieces("q", " ", "x", "y"), SimpleNamespace(is_encoder_decoder=False))  # type: ignore[arg-type]
        (example,) = examples(task, rows(["x", "yx"], question="q"))
        assert example["input_ids"] == [[1, 2, 3], [1, 2, 4, 3]]


class TestLikelihood:
    """The log-likelihood of each choice's tokens after the prompt."""

    def test_sums_are_those_of_the_models_log_softmax_by_hand(self, toys: Any, tmp_path: Path) -> None:
        task, model = ready(toys, tmp_path, LIKELIHOOD, normalization="none")
        (example,) = examples(task, rows(["word1 word2", "word3 word4 word5"]))
        ids = example["input_ids"]
        texts = [task.processor.convert_ids_to_tokens(one) for one in ids]
        before = ["[CLS]", "[UNK]", "[UNK]", "word40", "word41", "[UNK]", "[UNK]"]  # the toy knows no "Question", ":"
        assert texts == [[*before, "word1", "word2"], [*before, "word3", "word4", "word5"]]
        assert example["start"] == 7 and example["bytes"] == [11, 17]
        batch = task.collate([example])
        expected = []
        with torch.no_grad():
            for one in ids:
                found = model(torch.tensor([one])).logits[0].log_softmax(-1)
                expected.append(sum(float(found[place - 1, one[place]]) for place in range(7, len(one))))
            outputs = model(**batch.inputs)
        (reading,) = task.read(outputs, batch)
        assert reading["scores"] == pytest.approx(expected, rel=1e-5)
        by_hand = cross_entropy(torch.tensor([expected]), torch.tensor([0]))
        torch.testing.assert_close(task.loss(outputs, batch), by_hand, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("normalization, label", [("none", "0"), ("bytes", "1"), ("tokens", "0")])
    def test_dividing_by_the_length_changes_the_winner(
        self, normalization: str, label: str, toys: Any, tmp_path: Path
    ) -> None:
        task, _ = ready(toys, tmp_path, LIKELIHOOD, normalization=normalization)
        (example,) = examples(task, rows(["é", "word10 word11"]))
        batch = task.collate([example])
        size = len(task.processor)
        outputs = SimpleNamespace(logits=torch.zeros(*batch.inputs["input_ids"].shape, size))
        (reading,) = task.read(outputs, batch)  # every token is as likely: one token beats two, 2 bytes lose to 13
        assert example["bytes"] == [2, 13]
        assert (reading["summed_label"], reading["normalized_label"], reading["label"]) == ("0", "1", label)
        once = -math.log(size)
        divided = {"none": [once, 2 * once], "bytes": [once / 2, 2 * once / 13], "tokens": [once, once]}
        assert reading["scores"] == pytest.approx(divided[normalization])
        expected = cross_entropy(torch.tensor([divided[normalization]]), torch.tensor([0]))
        torch.testing.assert_close(task.loss(outputs, batch), expected)

    def test_a_token_over_the_boundary_counts_with_the_choices_of_the_whole_row(
        self, toys: Any, tmp_path: Path
    ) -> None:
        task, _ = ready(toys, tmp_path, LIKELIHOOD, prompt="{question}:{choice}")
        config = SimpleNamespace(is_encoder_decoder=False, model_type="llama")
        task.equip(pieces("q", ":", "x", "y", ":x", merges=[(":", "x")]), config)  # type: ignore[arg-type]
        (example,) = examples(task, rows(["x", "y"], question="q"))
        assert example["input_ids"] == [[1, 5], [1, 2, 4]] and example["start"] == 1
        (alone,) = examples(task, rows(["x", "y"], question=""))  # nothing is shared: begins from the end of a text
        assert alone["input_ids"] == [[0, 5], [0, 2, 4]] and alone["start"] == 1

    def test_a_sequence_is_opened_once(self, toys: Any, tmp_path: Path) -> None:
        task, _ = ready(toys, tmp_path, LIKELIHOOD, prompt="[CLS] {question} {choice}")
        (example,) = examples(task, rows(["word1", "word2"]))
        assert [ids.count(task.processor.cls_token_id) for ids in example["input_ids"]] == [1, 1]

    def test_a_long_prompt_is_cut_from_the_left_alike_for_all_choices(self, toys: Any, tmp_path: Path) -> None:
        task, _ = ready(toys, tmp_path, LIKELIHOOD, prompt="{question} {choice}")
        long = " ".join(f"word{i}" for i in range(20))
        columns = rows(["word50", "word51 word52 word53"], question=long)
        (example,) = examples(task, columns, max_length=8)
        words = [task.processor.decode(ids) for ids in example["input_ids"]]
        assert words == [
            "[CLS] word16 word17 word18 word19 word50",
            "[CLS] word16 word17 word18 word19 word51 word52 word53",
        ]
        assert example["cut"] and example["start"] == 5
        (fits,) = examples(task, columns, max_length=24)
        assert "cut" not in fits
        with pytest.raises(RowError, match=r"choice 1 takes 4 tokens .* leaves the question no room in 4"):
            examples(task, columns, max_length=4)

    def test_braces_in_a_text_are_text(self, toys: Any, tmp_path: Path) -> None:
        task, _ = ready(toys, tmp_path, LIKELIHOOD, context="context")
        columns = rows(["word1", "word2"], question="{context} {choice}") | {"context": ["{question}"]}
        before = task.scoring._before  # type: ignore[attr-defined]
        seen: list[str] = []
        task.scoring._before = lambda question: seen.append(before(question)) or seen[-1]  # type: ignore[attr-defined]
        examples(task, columns)
        assert seen == ["{question}\nQuestion: {context} {choice}\nAnswer: "]

    @pytest.mark.parametrize("kind", ["bert", "roberta", "t5", "bart"])
    def test_a_model_that_sees_what_it_is_asked_for_is_refused(self, kind: str, toys: Any, tmp_path: Path) -> None:
        recipe = recipe_for(varied(HEAD, kind, scoring="likelihood"), toys, tmp_path)
        with pytest.raises(UserError, match=f"{kind} is no causal language model"):
            equipped(recipe)

    def test_virtual_tokens_are_not_taken_for_the_texts(self, toys: Any, tmp_path: Path) -> None:
        task, model = ready(toys, tmp_path, LIKELIHOOD)
        batch = task.collate(examples(task, rows(["word1", "word2 word3"])))
        with torch.no_grad():
            logits = model(**batch.inputs).logits
        longer = torch.cat([torch.randn(2, 3, logits.shape[2]), logits], 1)
        assert task.read(SimpleNamespace(logits=longer), batch) == task.read(SimpleNamespace(logits=logits), batch)


@pytest.mark.parametrize("toy", [HEAD, LIKELIHOOD], ids=["head", "likelihood"])
def test_another_order_of_choices_gives_the_same_choice(toy: Toy, toys: Any, tmp_path: Path) -> None:
    task, model = ready(toys, tmp_path, toy)
    given = toy.rows(12, 0)
    turned = [
        {**row, "choices": row["choices"][::-1], "answer": len(row["choices"]) - 1 - row["answer"]} for row in given
    ]
    found = []
    for part in (given, turned):
        batch = task.collate(examples(task, {name: [row[name] for row in part] for name in part[0]}))
        with torch.no_grad():
            outputs = model(**batch.inputs)
        found.append(
            (
                float(task.loss(outputs, batch)),
                [task.join(row, [reading]) for row, reading in zip(part, task.read(outputs, batch), strict=True)],
            )
        )
    (loss, before), (turned_loss, after) = found
    assert loss == pytest.approx(turned_loss, rel=1e-5)
    assert len({prediction["label"] for prediction in before}) > 1
    for row, one, other in zip(given, before, after, strict=True):
        assert one["choice"] == other["choice"]
        assert int(one["label"]) + int(other["label"]) == len(row["choices"]) - 1


@pytest.mark.parametrize(
    "toy, method", [(HEAD, "prefix-tuning"), (HEAD, "full"), (HEAD, "head"), (LIKELIHOOD, "prefix-tuning")]
)
def test_other_methods_train_it(toy: Toy, method: str, toys: Any, tmp_path: Path) -> None:
    recipe = recipe_for(
        varied(Toy(**{**vars(toy), "training": {"max_steps": 2, "epochs": 1.0}})), toys, tmp_path, method
    )
    record = peftkit.run(recipe, tmp_path / "run")
    assert peftkit.load(tmp_path / "run").evaluate("test").scores == pytest.approx(record.scores, rel=1e-4)


LISTED = ["red", "green", "2"]
NAMED = {"text": ["B", "red", "green"], "label": ["A", "B", "C"]}


@pytest.mark.parametrize(
    "cell, answer, answer_is, right",
    [
        (LISTED, 1, None, 1),
        (LISTED, "1", None, 1),
        (LISTED, "green", None, 1),
        (LISTED, "2", None, 2),  # its text and its index
        (["1", "2", "0"], "1", "text", 0),
        (["1", "2", "0"], "1", "index", 1),
        (["10", "20"], "20", None, 1),  # no such index
        (["same", "same"], 1, None, 1),
        (NAMED, "B", None, 1),  # its label, though another choice reads so
        (NAMED, "B", "text", 0),
        (NAMED, 2, None, 2),
        ({"text": ["x", "y"], "label": ["1", "2"]}, "1", None, 0),  # as some rows of ARC are labelled
        ({"text": ["x", "y"], "label": ["1", "2"]}, 1, "label", 0),
        ({"text": ["x", "y"], "label": ["1", "2"]}, "1", "index", 1),
    ],
)
def test_an_answer_is_an_index_a_text_or_a_label(cell: Any, answer: Any, answer_is: Any, right: int) -> None:
    assert Choices.of(cell, 0, "choices").right(answer, 0, answer_is) == right


@pytest.mark.parametrize(
    "cell, answer, answer_is, told",
    [
        (LISTED, 3, None, r"answer 3 is out of range: there are 3 choices \(0 to 2\)"),
        (LISTED, -1, None, "answer -1 is out of range"),
        (LISTED, "7", None, "answer 7 is out of range"),
        (LISTED, "gren", None, "answer 'gren' is none of the 3 choices, did you mean green?"),
        (LISTED, "A", None, "answer 'A' is none of the 3 choices"),
        (LISTED, "A", "label", "choices have no labels"),
        (LISTED, "red", "index", "answer 'red' is no index"),
        (LISTED, True, None, "answer True is neither an index nor text"),
        (LISTED, 1.0, None, "answer 1.0 is neither an index nor text"),
        (["1", "2", "0"], "1", None, "the text of choice 0 and another's index; say answer_is: text or index"),
        (["same", "same"], "same", None, "the text of choices 0, 1; give an index"),
        (NAMED, "D", None, r"answer 'D' is none of the labels \(A, B, C\)"),
        (NAMED, "red", None, "answer 'red' is none of the labels"),
        ([], 0, None, "holds 0 choices; two are needed"),
        (["one"], 0, None, "holds 1 choice; two are needed"),
        ("red", 0, None, "'red', which is not a list of choices"),
        (["red", 3], 0, None, "choice 1 is 3, which is no text"),
        (["red", None], 0, None, "choice 1 is None, which is no text"),
        (["red", " "], 0, None, "choice 1 is ' ', which is no text"),
        ({"text": ["x", "y"]}, 0, None, "neither a list of texts nor {text: …, label: …}".replace("…", r"\[…\]")),
        ({"text": ["x", "y"], "label": ["A"]}, 0, None, "2 choices have the labels A"),
        ({"text": ["x", "y"], "label": ["A", "A"]}, 0, None, "2 choices have the labels A, A"),
    ],
)
def test_what_names_no_choice_is_refused(cell: Any, answer: Any, answer_is: Any, told: str) -> None:
    with pytest.raises(RowError, match=told) as error:
        Choices.of(cell, 5, "choices").right(answer, 5, answer_is)
    assert error.value.row == 5 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"prompt": "{question}{choice}"}, "prompt and normalization are for scoring: likelihood"),
        ({"normalization": "none"}, "prompt and normalization are for scoring: likelihood"),
        ({"scoring": "likelihood", "prompt": "{question}"}, "{choice} is missing"),
        ({"scoring": "likelihood", "prompt": "{choice} {question}"}, "must end with its only {choice}"),
        ({"scoring": "likelihood", "prompt": "{choice} {question} {choice}"}, "must end with its only {choice}"),
        ({"scoring": "likelihood", "prompt": "{qestion} {choice}"}, "stands for nothing, did you mean question?"),
        ({"scoring": "likelihood", "prompt": "{context} {question} {choice}"}, "{context} stands for nothing"),
        ({"scoring": "likelihood", "context": "c", "prompt": "{question} {choice}"}, "{context} is missing"),
        ({"scoring": "likelyhood"}, "likelihood"),
        ({"metrics": ["normalized_accuracy"]}, "normalized_accuracy"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], told: str, toys: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        recipe_for(varied(HEAD, **settings), toys, tmp_path)
    assert told in str(error.value)


def test_a_typed_row_is_json_or_parted_by_tabs() -> None:
    def task(**settings: Any) -> Task:
        made = TASKS["multiple-choice"]
        return made(made.settings_class(name="multiple-choice", **settings))

    wanted = {"question": "why?", "choices": ["so", "not so"]}
    assert task().row("why?\tso\tnot so") == wanted
    assert task().row('{"question": "why?", "choices": ["so", "not so"], "answer": 1, "id": 7}') == wanted
    for line in ("why?\tso", "why?", '{"question": "why?"}', '{"question": '):
        with pytest.raises(UserError) as error:
            task().row(line)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="reads JSON with text, question, choices, given"):
        task(context="text").row("why?\tso\tnot so")


def test_a_trained_model_answers_lines_and_hub_style_rows(toys: Any, tmp_path: Path) -> None:
    recipe = recipe_for(Toy(**{**vars(HEAD), "training": {"max_steps": 1, "epochs": 1.0}}), toys, tmp_path)
    peftkit.run(recipe, tmp_path / "run")
    model = peftkit.load(tmp_path / "run")
    (typed,) = model.predict(["word40\tword1\tword11"])
    hub = {"question": "word40", "choices": {"text": ["word1", "word11"], "label": ["A", "B"]}}
    (given,) = model.predict([hub])
    assert typed == given and typed["choice"] == ["word1", "word11"][int(typed["label"])]
