"""Words to tokens and back: alignment, windows, schemes and repair, worked out by hand or by a second rule."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seqeval.scheme import IOB2, IOBES, Entities
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast

import peftkit
from peftkit.contracts import IGNORED
from peftkit.data import encode, load_splits
from peftkit.errors import RowError, UserError
from peftkit.model import load_base, load_config, load_processor
from peftkit.recipe import check
from peftkit.tasks.token_classification import TokenClassification, TokenClassificationSettings
from peftkit.tasks.token_classification.tags import Entity, scheme_of
from peftkit.tasks.token_classification.windows import windows
from peftkit.tasks.token_classification.words import takes_space, text_of, tokenize_words, words_of
from tests.conftest import save_toy
from tests.toy_tasks import mentioning

IOB2_NAMES = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def task_for(tokenizer: Any, tags: list[list[str]], **settings: Any) -> TokenClassification:
    """The task after rows with these tags."""
    task = TokenClassification(TokenClassificationSettings(**settings))
    task.learn({"tags": tags})  # type: ignore[arg-type]
    task.equip(tokenizer, SimpleNamespace())  # type: ignore[arg-type]
    return task


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """BERT's way of cutting words: WordPiece between [CLS] and [SEP], a word as letters that go on with ``##``."""
    from transformers import BertTokenizer

    signs = ["a", "b", "c", "d", "##a", "##b", "##c", "##d"]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return BertTokenizer(vocab={name: number for number, name in enumerate([*names, *signs])})


def byte_level(first_space: bool) -> Any:
    """GPT-2's way: the bytes, and merges of a word with the space before it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: number for number, sign in enumerate(["<|endoftext|>", *alphabet])}
    merges = [("w", "o"), ("r", "d"), ("wo", "rd"), ("Ġ", "word")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    return GPT2Tokenizer(vocab=vocabulary, merges=merges, add_prefix_space=first_space, pad_token="<|endoftext|>")


# --- Words and tokens


def test_labels_stand_on_the_first_token_of_a_word_and_nowhere_else(pieces: Any) -> None:
    task = task_for(pieces, [["B-PER", "I-PER", "O"], ["B-LOC"]])
    rows = {"tokens": [["ab", "", "c", "\u200d", "dab"]], "tags": [["B-PER", "I-PER", "O", "O", "B-LOC"]]}
    ((example,),) = task.encode(rows, 16)
    #        [CLS] a ##b c d ##a ##b [SEP]; the second and fourth word have no tokens
    assert example["input_ids"] == [2, 5, 10, 7, 8, 9, 10, 3]
    assert example["words"] == [0, 2, 4] and example["places"] == [1, 3, 4]
    assert list(task.classes.names) == IOB2_NAMES
    assert example["labels"] == [IGNORED, 3, IGNORED, 0, 1, IGNORED, IGNORED, IGNORED]
    row = {"tokens": rows["tokens"][0], "tags": rows["tags"][0]}
    prediction = task.join(row, [{"words": [0, 2, 4], "tags": ["B-PER", "O", "B-LOC"]}])
    assert prediction["tags"] == ["B-PER", "O", "O", "O", "B-LOC"]
    assert prediction["entities"] == [
        {"type": "PER", "text": "ab", "start": 0, "end": 1},
        {"type": "LOC", "text": "dab", "start": 4, "end": 5},
    ]


def test_a_row_without_a_readable_word_is_all_outside(pieces: Any) -> None:
    task = task_for(pieces, [["B-PER"]])
    assert task.encode({"tokens": [["", "\u200d"], [], ["a"]]}, 16)[:2] == [[], []]
    assert task.join({"tokens": ["", "\u200d"]}, [])["tags"] == ["O", "O"]


def test_byte_level_tokenizers_see_the_space_before_every_word() -> None:
    plain, spaced = byte_level(False), byte_level(True)
    rows = [["word", "w", "", "word"]]
    assert takes_space(plain) and not takes_space(spaced)
    ours, theirs = tokenize_words(plain, rows, True), tokenize_words(spaced, rows, False)
    assert ours == theirs
    assert plain.convert_ids_to_tokens(ours[0][0]["input_ids"]) == ["Ġword", "Ġ", "w", "Ġword"]
    assert ours[0][1] == [0, 1, 1, 3]
    # Without the space the words would be other tokens than in running text.
    assert plain("x word")["input_ids"][-1] == ours[0][0]["input_ids"][0]
    # Chinese is written without: 北 is three bytes, nothing before them.
    assert tokenize_words(plain, [["北", "京"]], True)[0][1] == [0, 0, 0, 1, 1, 1]


def test_other_tokenizers_get_words_as_they_are(pieces: Any, toys: Any) -> None:
    metaspace = Tokenizer(models.BPE({"▁": 0, "t": 1, "h": 2, "e": 3}, []))
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    assert not takes_space(pieces)
    assert not takes_space(PreTrainedTokenizerFast(tokenizer_object=metaspace))
    assert not takes_space(PreTrainedTokenizerFast.from_pretrained(toys("bert")))
    # Llama 3 and Qwen: the space is split off with the word before the bytes, add_prefix_space would not do
    split = byte_level(False)
    split.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pre_tokenizers_pattern(), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    assert takes_space(split)
    assert tokenize_words(split, [["word", "word"]], True)[0][1] == [0, 1]


def pre_tokenizers_pattern() -> Any:
    from tokenizers import Regex

    return Regex(r" ?\p{L}+| ?\p{N}+|\s+")


def test_a_tokenizer_that_tells_no_words_is_refused() -> None:
    task = TokenClassification(TokenClassificationSettings())
    with pytest.raises(UserError, match="a base with a fast tokenizer is needed"):
        task.equip(SimpleNamespace(is_fast=False), SimpleNamespace())  # type: ignore[arg-type]


def test_lines_of_text_become_words_or_characters() -> None:
    task = TokenClassification(TokenClassificationSettings(tokens="words"))
    assert task.row("Jim  bought it") == {"words": ["Jim", "bought", "it"]}
    assert task.row("我 在 a北京") == {"words": ["我", "在", "a", "北", "京"]}
    assert task.row('{"words": ["a b", "c"]}') == {"words": ["a b", "c"]}
    with pytest.raises(UserError, match="no 'words'"):
        task.row('{"tokens": ["a"]}')
    assert text_of(["New", "York"]) == "New York" and text_of(["北", "京"]) == "北京" and words_of(" ") == []


# --- Windows


@pytest.mark.parametrize("seed", range(60))
def test_every_word_is_taught_in_one_window_the_one_with_the_most_around_it(seed: int) -> None:
    draw = random.Random(seed)
    count, room, overlap = draw.randint(0, 40), draw.randint(1, 12), draw.randint(0, 15)
    sizes = [draw.randint(1, room if draw.random() < 0.1 else max(1, room // 3)) for _ in range(count)]
    found = windows(sizes, room, overlap)
    assert [word for window in found for word in range(window.first, window.last)] == list(range(count))

    def around(word: int, start: int, end: int) -> float:
        """Words on the side that has fewer; the ends of the sentence take nothing away."""
        return min(word - start if start else 1000, end - 1 - word if end < count else 1000)

    for window in found:
        assert window.start <= window.first < window.last <= window.end
        assert sum(sizes[window.start : window.end]) <= room
        for word in range(window.first, window.last):
            rivals = [around(word, w.start, w.end) for w in found if w.start <= word < w.end]
            assert around(word, window.start, window.end) == max(rivals)
    for one, other in pairwise(found):
        assert one.start < other.start <= one.end < other.end  # each brings the next words on, none is left out
        assert one.end - other.start <= min(overlap, (one.end - one.start) / 2)


def test_a_sentence_in_three_windows() -> None:
    # 10 words of a token, 4 to a window, 2 shared: 0-3, 2-5, 4-7, 6-9, parted in the middle of what they share
    found = [(w.start, w.end, w.first, w.last) for w in windows([1] * 10, 4, 2)]
    assert found == [(0, 4, 0, 3), (2, 6, 3, 5), (4, 8, 5, 7), (6, 10, 7, 10)]


@pytest.mark.parametrize("limit", [4, 5, 7, 16])
@pytest.mark.parametrize("stride", [0, 1, 50])
def test_examples_of_a_long_row_teach_every_word_once_within_the_limit(pieces: Any, limit: int, stride: int) -> None:
    task = task_for(pieces, [["B-PER"]], stride=stride)
    words = ["a", "bc", "", "d", "ab", "c", "d", "a", "bc", "\u200d", "d"]
    tags = ["B-PER" if number % 2 else "O" for number in range(len(words))]
    (examples,) = task.encode({"tokens": [words], "tags": [tags]}, limit)
    assert [word for example in examples for word in example["words"]] == [0, 1, 3, 4, 5, 6, 7, 8, 10]
    for example in examples:
        assert len(example["input_ids"]) == len(example["labels"]) <= limit and "cut" not in example
        assert example["input_ids"][0] == 2 and example["input_ids"][-1] == 3
        taught = {place: number for place, number in enumerate(example["labels"]) if number != IGNORED}
        assert list(taught) == example["places"]
        assert [task.classes.names[number] for number in taught.values()] == [tags[word] for word in example["words"]]
        tokens = pieces.convert_ids_to_tokens(example["input_ids"])
        assert [tokens[place] for place in example["places"]] == [words[word][0] for word in example["words"]]


def test_a_word_above_the_limit_is_cut_and_said_to_be(pieces: Any) -> None:
    task = task_for(pieces, [["B-PER"]])
    (examples,) = task.encode({"tokens": [["a", "bcda", "b"]]}, 5)
    assert [example["input_ids"] for example in examples] == [[2, 5, 3], [2, 6, 11, 12, 3], [2, 6, 3]]
    assert [example.get("cut", False) for example in examples] == [False, True, False]
    with pytest.raises(UserError, match="2 tokens leave no room beside the 2"):
        task.encode({"tokens": [["a"]]}, 2)


def test_predictions_do_not_depend_on_the_windows_where_words_alone_decide(toys: Any) -> None:
    """A model that looks at nothing but the word itself: the embeddings, without positions, under a head."""
    recipe = check({"model": str(toys("bert")), "method": "lora", "task": "token-classification", "data": "x"}, {})
    row = {"tokens": [f"word{number * 7 % 60}" for number in range(45)]}
    task = task_for(load_processor(recipe.model, TokenClassification(TokenClassificationSettings())), [IOB2_NAMES])
    embeddings = load_base(recipe, task, torch.device("cpu")).model.get_input_embeddings()
    torch.manual_seed(0)
    head = torch.nn.Linear(32, 5)

    def tags(limit: int) -> list[str]:
        (examples,) = task.encode({"tokens": [row["tokens"]]}, limit)
        batch = task.collate(examples)
        with torch.no_grad():
            readings = task.read(SimpleNamespace(logits=head(embeddings(batch.inputs["input_ids"]))), batch)
        return list(task.join(row, readings)["tags"])

    whole = tags(64)
    assert len(set(whole)) > 2
    assert all(tags(limit) == whole for limit in (3, 4, 9, 20, 46))


# --- Schemes


def test_schemes_are_told_by_their_letters() -> None:
    def name(*tags: str) -> str | None:
        scheme = scheme_of(tags)
        return scheme and scheme.name

    assert name("O", "B-PER", "I-PER") == name("B", "I", "O") == name("I-PER", "O") == "IOB2"
    assert name("O", "B-PER", "E-PER") == name("S-PER", "O") == "IOBES"
    assert name("O", "B-PER", "L-PER", "U-PER") == "BILOU"
    assert name("NOUN", "VERB", "O") is name("PER", "LOC", "O") is name("B", "M", "E", "S") is name("O") is None
    assert name("O", "B-PER", "I-PER", "B-LOC", "X-PER", "B") == name(*["B-X"] * 3, "E-X") == "IOB2"


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("letters, theirs", [("BI", IOB2), ("BIES", IOBES)])
def test_entities_are_those_of_seqeval_in_strict_mode(seed: int, letters: str, theirs: Any) -> None:
    draw = random.Random(seed)
    kinds = ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("X", "Y"))]
    scheme = scheme_of(kinds)
    assert scheme is not None
    tags = draw.choices(kinds, k=draw.randint(0, 14))
    expected = [Entity(one.tag, one.start, one.end) for one in Entities([tags], theirs).entities[0]]
    assert scheme.entities(tags) == expected
    whole = scheme.repaired(tags)
    assert scheme.illegal(whole) == 0 and scheme.repaired(whole) == whole
    assert [tag[2:] for tag in whole] == [tag[2:] for tag in tags]
    assert (scheme.illegal(tags) == 0) == (whole == tags)
    assert sum(one.end - one.start for one in scheme.entities(whole)) == sum(tag != "O" for tag in tags)


def test_repair_follows_the_rule_of_conlleval() -> None:
    # conlleval.pl, startOfChunk: an I- after O or after another type starts a chunk
    iob = scheme_of(["B-X", "I-X"])
    ends = scheme_of(["B-X", "I-X", "E-X", "S-X"])
    assert iob is not None and ends is not None
    tags = ["I-X", "I-X", "O", "B-X", "I-Y", "I-Y", "B-Y", "I-Y"]
    assert iob.repaired(tags) == ["B-X", "I-X", "O", "B-X", "B-Y", "I-Y", "B-Y", "I-Y"]
    assert iob.illegal(tags) == 2
    assert ends.repaired(["I-X", "I-X", "B-X", "O", "E-X"]) == ["B-X", "E-X", "S-X", "O", "S-X"]


def test_repair_holds_for_predictions_and_references_and_is_stated(pieces: Any) -> None:
    rows = [{"tokens": ["a", "b"], "tags": ["I-PER", "I-PER"]}, {"tokens": ["a", "b"], "tags": ["B-PER", "O"]}]
    found = [{"words": [0, 1], "tags": ["I-PER", "I-PER"]}, {"words": [0, 1], "tags": ["O", "I-PER"]}]
    scores = {}
    for repair in ("none", "begin"):
        task = task_for(pieces, [["B-PER", "I-PER"]], repair=repair)
        predictions = [task.join(row, [reading]) for row, reading in zip(rows, found, strict=True)]
        references = [task.reference(row) for row in rows]
        scores[repair] = peftkit.metrics.METRICS["entity_f1"].compute(predictions, references)
        detail = task.detail(predictions, references)
        stated = {"scheme": "IOB2", "repair": repair, "illegal_tags": 2, "illegal_reference_tags": 1}
        assert {key: detail[key] for key in stated} == stated
        assert detail["per_type"]["PER"]["support"] == {"none": 1, "begin": 2}[repair]
    # strictly no entity is predicted; begun: 2 predicted, 2 there, the two words of the first row agree
    assert scores == {"none": 0.0, "begin": 0.5}


def test_a_model_that_tags_everything_outside_scores_0(pieces: Any) -> None:
    task = task_for(pieces, [["B-PER", "I-PER", "O"]])
    row = {"tokens": ["a", "b", "c", "d"], "tags": ["B-PER", "O", "O", "O"]}
    prediction = task.join(row, [{"words": [0, 1, 2, 3], "tags": ["O"] * 4}])
    compute = {name: peftkit.metrics.METRICS[name].compute for name in task.metrics}
    assert {name: score([prediction], [task.reference(row)]) for name, score in compute.items()} == {
        "entity_f1": 0.0,
        "entity_precision": 0.0,
        "entity_recall": 0.0,
    }


def test_tags_without_a_scheme_are_scored_by_token(pieces: Any) -> None:
    task = task_for(pieces, [["NOUN", "VERB"]])
    assert task.metrics == ("token_accuracy",)
    row = {"tokens": ["a", "b"], "tags": ["NOUN", "VERB"]}
    prediction = task.join(row, [{"words": [0, 1], "tags": ["NOUN", "NOUN"]}])
    detail = task.detail([prediction], [task.reference(row)])
    assert detail["scheme"] == "none"
    assert detail["per_tag"]["NOUN"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    again = TokenClassification(TokenClassificationSettings())
    again.restore(task.config())
    assert again.scheme is None and again.metrics == ("token_accuracy",) and again.classes == task.classes
    with pytest.raises(UserError, match="entity_f1 needs tags like B-PER"):
        task_for(pieces, [["NOUN", "VERB"]], metrics=["token_accuracy", "entity_f1"])
    with pytest.raises(UserError, match="begin needs tags like B-PER"):
        task_for(pieces, [["NOUN", "VERB"]], repair="begin")


# --- What the rows say


def test_tags_are_numbered_the_same_whatever_the_order_of_rows(pieces: Any) -> None:
    one = task_for(pieces, [["O", "B-b", "I-b"], ["B-a"]])
    other = task_for(pieces, [["B-a"], ["I-b", "O", "B-b"]])
    assert one.classes == other.classes
    # I-a is not in train, but a row to score may have it
    assert one.classes.names == ("O", "B-a", "I-a", "B-b", "I-b")
    assert one.config()["id2label"] == dict(enumerate(one.classes.names))
    again = TokenClassification(TokenClassificationSettings())
    again.restore({"id2label": {str(number): name for number, name in enumerate(one.classes.names)}})
    assert again.classes == one.classes and again.scheme == one.scheme
    assert task_for(pieces, [["B-a", "O"]], types=["c"]).classes.names[-2:] == ("B-c", "I-c")


@pytest.mark.parametrize(
    "cells, message",
    [
        ({"tags": ["O", "O"]}, "2 tags for 3 words"),
        (
            {"tags": ["O", "X-PER", "O"]},
            r"tag 2 \(of 'b'\): tag 'X-PER' is not of the scheme IOB2, did you mean [BI]-PER",
        ),
        ({"tags": ["B", "O", "O"]}, r"tag 1 \(of 'a'\): tag 'B' is not of the scheme IOB2.* \(known: O, B-LOC, "),
        ({"tags": ["O", "O", "B-PRE"]}, r"tag 3 \(of 'c'\): tag 'B-PRE' is unknown in train, did you mean [BI]-PER"),
        ({"tags": ["O", None, "O"]}, r"tag 2 \(of 'b'\) is None, not a tag"),
        ({"tags": "O O O"}, "'O O O', which is not a list of tags"),
        ({"tokens": "a b c"}, "'a b c', which is not a list"),
        ({"tokens": ["a", 1, "c"]}, "holds 1, which is not a word"),
    ],
)
def test_what_a_row_gets_wrong_is_told_with_its_place(pieces: Any, cells: dict[str, Any], message: str) -> None:
    task = task_for(pieces, [["B-PER", "I-PER", "O"], ["B-LOC", "X-PER"]])
    good = {"tokens": ["a", "b", "c"], "tags": ["B-PER", "I-PER", "O"]}
    rows = [good, {**good, **cells}]
    with pytest.raises(RowError, match=message) as error:
        task.encode({name: [row[name] for row in rows] for name in good}, 16)
    assert error.value.row == 1 and "\n" not in str(error.value)


def test_tags_that_begin_nothing_want_repair(pieces: Any) -> None:
    with pytest.raises(UserError, match=r"begin no entity.*repair: begin"):
        task_for(pieces, [["I-PER", "O"]])
    task = task_for(pieces, [["I-PER", "O"]], repair="begin")
    assert task.reference({"tags": ["I-PER", "I-PER", "O"]}) == ["B-PER", "I-PER", "O"]
    with pytest.raises(UserError, match="one class only"):
        task_for(pieces, [["O", "O"]])


def test_class_numbers_of_the_hub_become_tags(toys: Any) -> None:
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=IOB2_NAMES))})
    data = {"tokens": [["a", "b"], ["c"], ["d"], []], "ner_tags": [[3, 4], [1], [-1], None]}
    rows = Dataset.from_dict(data, features=features)
    recipe = check(
        {
            "model": str(toys("bert")),
            "method": "lora",
            "task": {"name": "token-classification", "tags": "ner_tags"},
            "data": "given",
        },
        {},
    )
    task = TokenClassification(TokenClassificationSettings(tags="ner_tags"))
    splits = load_splits(recipe.data, task, {"train": rows, "validation": rows})
    assert splits["train"]["ner_tags"][:] == [["B-PER", "I-PER"], ["B-LOC"], [None], None]
    task.learn(splits["train"])
    assert list(task.classes.names) == IOB2_NAMES
    task.equip(load_processor(recipe.model, task), load_config(recipe.model))
    kept = encode(splits["train"], task, 16, invalid_rows="drop")
    assert kept.references == [["B-PER", "I-PER"], ["B-LOC"]] and sum(kept.dropped.values()) == 2


def test_rows_without_anything_to_read_are_no_training_data(toys: Any) -> None:
    recipe = check({"model": str(toys("bert")), "method": "lora", "task": "token-classification", "data": "given"}, {})
    task = task_for(load_processor(recipe.model, TokenClassification(TokenClassificationSettings())), [["B-PER"]])
    good, empty = {"tokens": ["word1", ""], "tags": ["B-PER", "O"]}, {"tokens": ["", " "], "tags": ["O", "O"]}
    splits = load_splits(recipe.data, task, {"train": [good, empty], "validation": [empty]})
    with pytest.raises(UserError, match="split validation: none of its rows has a part that the model can read"):
        encode(splits["validation"], task, 16, split="validation")
    found = encode(splits["train"], task, 16)
    assert found.owners == [0] and found.references == [["B-PER", "O"], ["O", "O"]]


# --- Models


@pytest.mark.parametrize("kind", ["gpt2", "llama", "roberta"])
def test_heads_of_other_architectures_are_found_trained_and_saved(kind: str, tmp_path: Path) -> None:
    model = save_toy(tmp_path / "model", kind)
    rows = {"train": mentioning(32, 0), "validation": mentioning(8, 100)}
    recipe = check(
        {
            "model": str(model),
            "method": "lora",
            "task": "token-classification",
            "data": {"source": "given"},
            "training": {"epochs": 1.0, "batch_size": 8, "max_length": 12, "eval_strategy": "no"},
        },
        {},
    )
    record = peftkit.run(recipe, tmp_path / "run", rows=rows)  # reloads what it saved and compares
    assert record.status == "ok" and record.detail["scheme"] == "IOB2"
    found = peftkit.load(tmp_path / "run")
    long = {"tokens": ["word0", "word5", "word41"] * 20}
    empty, many = found.predict([{"tokens": []}, long])
    assert empty["tags"] == [] and len(many["tags"]) == 60
    assert found.predict([long])[0] == many
