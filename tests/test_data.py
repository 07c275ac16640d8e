"""Rows from a source, their splits and checks, and rows as tokens."""

import json
import os
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from datasets import Dataset

from peftkit.data import Encoded, encode, load_splits
from peftkit.errors import UserError
from peftkit.recipe import Data
from peftkit.tasks.text_classification import TextClassification, TextClassificationSettings
from tests.conftest import save_toy, toy_rows, write_jsonl


def task(**settings: str) -> TextClassification:
    return TextClassification(TextClassificationSettings(**settings))


@cache
def tokenizer() -> Any:
    """A token a word, [CLS] in front and [SEP] behind."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(save_toy(Path(mkdtemp(prefix="peftkit-toy-"))))


def load(source: Any, columns: dict[str, str] | None = None, **settings: Any) -> dict[str, Dataset]:
    """The splits of a source, checked as a run checks them."""
    which, data = task(**columns or {}), Data(source=str(source) if isinstance(source, Path) else source, **settings)
    splits = load_splits(data, which)
    which.learn(splits["train"])
    which.processor = tokenizer()
    encode_splits(splits, which, data)
    return splits


def encode_splits(splits: dict[str, Dataset], which: TextClassification, data: Data) -> dict[str, Encoded]:
    """Every split, its rows cut to 32 tokens."""
    return {
        split: encode(rows, which, 32, split=split, invalid_rows=data.invalid_rows) for split, rows in splits.items()
    }


def refusal(*args: Any, **settings: Any) -> UserError:
    """The error of a source that is refused: one line, whatever was wrong."""
    with pytest.raises(UserError) as refused:
        load(*args, **settings)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 500
    return refused.value


def many(count: int, classes: int = 3) -> list[dict[str, str]]:
    """Rows told apart by their text; class i has about twice the rows of class i+1."""
    labels = [f"c{i}" for i in range(classes) for _ in range(2 ** (classes - i))]
    return [{"text": f"text {i}", "label": labels[i % len(labels)]} for i in range(count)]


def texts(rows: Dataset) -> list[str]:
    return list(rows["text"])


# --- Splits and columns ----------------------------------------------------------------------------------------------


def test_files_by_split_and_in_a_list(tmp_path):
    sizes = (("train", 20), ("test", 5))
    one, other = (str(write_jsonl(tmp_path / f"{name}.jsonl", many(count))) for name, count in sizes)
    for source in ({"train": one, "test": other}, [one, other], tmp_path):
        splits = load(source)
        assert {split: len(rows) for split, rows in splits.items()} == {"test": 5, "train": 18, "validation": 2}
    assert len(load({"all": one, "held": other}, train="all", validation="held")["train"]) == 20


def test_one_file_is_the_training_rows_whatever_its_name(tmp_path):
    file = write_jsonl(tmp_path / "everything.jsonl", many(20))
    for source in (file, tmp_path, [str(file)], {"any": str(file)}):
        assert {split: len(rows) for split, rows in load(source).items()} == {"train": 18, "validation": 2}


def test_the_built_in_source_has_three_splits():
    splits = load("builtin:stdlib-docstrings", max_train_samples=200, max_eval_samples=100, max_predict_samples=90)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 200, "test": 90, "validation": 100}


@pytest.fixture
def three(tmp_path):
    """A folder with train, dev and test."""
    for split, count in (("train", 40), ("dev", 8), ("test", 9)):
        write_jsonl(tmp_path / f"{split}.jsonl", many(count))
    return tmp_path


@pytest.mark.parametrize("setting, given, near", [("train", "trian", "train"), ("validation", "dve", "dev")])
def test_a_split_that_is_not_there_lists_those_that_are(setting, given, near, three):
    error = refusal(three, **{setting: given})
    assert str(error) == f"no split {given!r} at the source, did you mean {near}? (there are: dev, test, train)"
    assert error.key == ("data", setting)


@pytest.mark.parametrize(
    "setting, given, told",
    [
        ("text", "txt", "no column 'txt' in train, did you mean text? (columns there: text, label)"),
        ("label", "lable", "no column 'lable' in train, did you mean label? (columns there: text, label)"),
        ("text_pair", "other", "no column 'other' in train (columns there: text, label)"),
    ],
)
def test_a_column_that_is_not_there_lists_those_that_are(setting, given, told, three):
    error = refusal(three, {setting: given})
    assert str(error) == told and error.key == ("task", setting)


def test_a_column_missing_in_one_split_is_told_with_that_split(three):
    write_jsonl(three / "test.jsonl", [{"text": "a"}])
    assert str(refusal(three)) == "no column 'label' in test (columns there: text)"


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize("absent", [True, False])
def test_a_missing_cell_is_told_with_its_row(column, absent, three):
    rows = many(40)
    rows[6] = {k: v for k, v in rows[6].items() if k != column} if absent else {**rows[6], column: None}
    write_jsonl(three / "train.jsonl", rows)
    error = refusal(three, validation="25%")
    assert str(error) == f"split train, row 7: column {column!r} is empty or absent" and error.key == ("task", column)


@pytest.mark.parametrize("bad", [3, 2.5, True, ["a", "b"], [], {"a": 1}])
def test_a_text_that_is_not_text_is_told_with_its_row(bad, three):
    write_jsonl(three / "test.jsonl", [{"text": bad, "label": "c0"}] * 2)
    error = refusal(three)
    assert str(error).startswith("split test, row 1: column 'text' holds ") and error.key == ("task", "text")
    assert str(error).endswith(", which is not text")


@pytest.mark.parametrize("bad", [["c0", "c1"], [], {"a": 1}])
def test_a_class_that_is_a_list_is_told_with_its_row(bad, three):
    write_jsonl(three / "test.jsonl", [{"text": "a", "label": bad}] * 40)
    assert str(refusal(three)).startswith("split test, row 1: column 'label' holds ")


def test_lists_of_labels_are_told_how_to_be_read(three):
    write_jsonl(three / "train.jsonl", [{"text": "a", "label": ["c0", "c1"]}] * 40)
    assert "give problem_type: multi_label_classification" in str(refusal(three))


def test_rows_that_cannot_be_read_are_dropped_and_counted_where_the_recipe_allows_it(three):
    rows = many(12)
    rows[3]["label"], rows[7]["label"], rows[9]["text"] = "c8", "c9", None
    rows[10]["text"] = 7
    which, data = task(), Data(source=str(three), invalid_rows="drop")
    write_jsonl(three / "test.jsonl", rows)
    splits = load_splits(data, which)
    which.learn(splits["train"])
    which.processor = tokenizer()
    test = encode_splits(splits, which, data)["test"]
    assert test.summary()["rows"] == 8 and test.references == [
        row["label"] for i, row in enumerate(rows) if i not in (3, 7, 9, 10)
    ]
    reasons = {
        "class 'c8' is unknown in train": 1,
        "class 'c9' is unknown in train": 1,
        "column 'text' is empty or absent": 1,
        "column 'text' holds another kind of value than in most rows": 1,
    }
    assert test.dropped == reasons
    write_jsonl(three / "test.jsonl", [{"text": "a", "label": "c9"}] * 2)
    with pytest.raises(UserError, match=r"^split test: no row is left \(class 'c9' is unknown in train\)$"):
        encode_splits(load_splits(data, which), which, data)


def test_one_class_only_is_refused(three):
    write_jsonl(three / "train.jsonl", [{"text": "a", "label": "c0"}] * 9)
    assert str(refusal(three)) == "the training rows hold one class only ('c0'); two are needed"


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_class_unknown_in_train_is_told_with_the_nearest(split, three):
    write_jsonl(three / f"{split}.jsonl", [*many(3), {"text": "a", "label": "c11"}])
    error = refusal(three)
    name = {"dev": "validation", "test": "test"}[split]
    row = {"dev": 4, "test": 4}[split]
    assert str(error).startswith(f"split {name}, row {row}: class 'c11' is unknown in train, did you mean c1?")
    assert str(error).endswith("(known: c0, c1, c2)") and error.key == ("task", "label")


@pytest.mark.parametrize(
    "labels, names",
    [
        ([10, 9, -1, 2], ["-1", "2", "9", "10"]),
        (["10", "9", "01"], ["01", "9", "10"]),
        ([2.5, 10.0, -3.0], ["-3.0", "2.5", "10.0"]),
        (["b", "2", "10", "a"], ["2", "10", "a", "b"]),
        (["²", "--5", "1e3", "nan"], ["--5", "1e3", "nan", "²"]),
        ([True, False], ["False", "True"]),
    ],
)
def test_numeric_classes_are_in_the_order_of_numbers_and_names_in_theirs(labels, names):
    learner = task()
    learner.learn(Dataset.from_list([{"text": "a", "label": label} for label in labels]))
    assert list(learner.problem.classes.names) == names
    assert learner.config()["label2id"] == {name: number for number, name in enumerate(names)}
    again = task()
    again.restore(json.loads(json.dumps(learner.config())))
    assert again.problem.classes == learner.problem.classes


# --- Shares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", ["10%", "33%", "12.5%", "50%", "70%"])
@pytest.mark.parametrize("count", [30, 101])
def test_a_share_is_disjoint_complete_and_in_proportion(share, count, tmp_path):
    file = write_jsonl(tmp_path / "rows.jsonl", many(count, classes=4))
    splits = load(file, validation=share)
    cut, kept = texts(splits["validation"]), texts(splits["train"])
    assert sorted(cut + kept) == sorted(row["text"] for row in many(count)) and not set(cut) & set(kept)
    part = Fraction(share[:-1]) / 100
    whole, taken = (Counter(row["label"] for row in rows) for rows in (many(count, 4), splits["validation"]))
    assert all(abs(taken[label] - part * size) <= 1 for label, size in whole.items())
    assert abs(len(cut) - part * count) <= 1
    assert kept == [text for text in (row["text"] for row in many(count)) if text in set(kept)], "old order"


def test_both_cuts_leave_three_disjoint_parts(tmp_path):
    splits = load(write_jsonl(tmp_path / "rows.jsonl", many(100)), validation="10%", test="20%")
    parts = [set(texts(rows)) for rows in splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 72, "test": 20, "validation": 8}


def test_a_cut_depends_on_its_own_seed_alone(tmp_path):
    file = write_jsonl(tmp_path / "rows.jsonl", many(100))
    cuts = [texts(load(file, validation="20%", split_seed=seed)["validation"]) for seed in (0, 0, 1)]
    assert cuts[0] == cuts[1] != cuts[2]


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_keeps_a_row_in_train(seed, tmp_path):
    rows = [{"text": str(i), "label": label} for i, label in enumerate("a" * 12 + "bcdefgh")]
    splits = load(write_jsonl(tmp_path / "rows.jsonl", rows), validation="50%", split_seed=seed)
    assert set(splits["train"]["label"]) == set("abcdefgh") and len(splits["validation"]) > 0


@pytest.mark.parametrize("share", ["0%", "100%", "1%", "99.9%"])
def test_a_share_that_leaves_one_side_empty_is_refused(share, tmp_path):
    file = write_jsonl(tmp_path / "rows.jsonl", many(20))
    assert str(refusal(file, validation=share)) == f"{share} of 20 rows leaves one side empty"


def test_limits_keep_the_classes_in_proportion(three):
    splits = load(three, max_train_samples=14, max_eval_samples=7, max_predict_samples=6)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 14, "validation": 7, "test": 6}
    sizes = Counter(row["label"] for row in many(40))
    taken = Counter(splits["train"]["label"])
    assert all(abs(taken[label] - 14 * size / 40) <= 1 for label, size in sizes.items())
    assert texts(splits["train"]) != texts(load(three, max_train_samples=14, split_seed=1)["train"])
    assert len(load(three, max_train_samples=4000)["train"]) == 40


# --- Encoding --------------------------------------------------------------------------------------------------------


def learned(rows: list[dict[str, Any]], **columns: str) -> tuple[Dataset, TextClassification]:
    table, which = Dataset.from_list(rows), task(**columns)
    which.learn(table)
    which.processor = tokenizer()
    return table, which


@pytest.mark.parametrize("max_length", [2, 6, 12, 13, 21, 22, 64])
def test_rows_are_cut_to_the_limit_and_counted_exactly(max_length):
    rows, which = learned(toy_rows(60))
    whole = [len(row["text"].split()) + 2 for row in rows]  # a token a word, and [CLS] and [SEP]
    encoded = encode(rows, which, max_length)
    assert encoded.lengths == [min(length, max_length) for length in whole]
    assert encoded.cut == sum(length > max_length for length in whole)
    assert encoded.summary()["tokens"] == sum(encoded.lengths) and len(encoded) == 60


def test_rows_of_pairs_are_cut_and_counted_exactly():
    rows, which = learned([{**row, "other": row["text"]} for row in toy_rows(60)], text_pair="other")
    whole = [2 * len(row["text"].split()) + 3 for row in rows]
    encoded = encode(rows, which, 25)
    assert encoded.lengths == [min(length, 25) for length in whole]
    assert encoded.cut == sum(length > 25 for length in whole) > 0
    assert all({0, 1} == set(row["token_type_ids"]) for row in encoded.examples)


def test_every_row_is_encoded_in_order_over_many_blocks(monkeypatch):
    rows, which = learned(toy_rows(25))
    whole = encode(rows, which, 10)
    monkeypatch.setattr("peftkit.data.encoding.BLOCK", 4)
    assert encode(rows, which, 10) == replace(whole, rows=rows)
    assert (
        [which.problem.classes.names[row["labels"]] for row in whole.examples]
        == list(rows["label"])
        == whole.references
    )


def test_the_fingerprint_tells_other_content_apart():
    rows, which = learned(toy_rows(9))
    prints = [encode(rows.select(chosen), which, 10).fingerprint for chosen in (range(9), range(8), [1, 0])]
    assert len(set(prints)) == 3 and prints[0] == encode(rows, which, 10).fingerprint


def test_an_empty_text_is_text():
    rows, which = learned([{"text": "", "label": "a"}, {"text": "word1", "label": "b"}])
    assert encode(rows, which, 10).lengths == [2, 3]


def test_rows_without_labels_are_encoded_without():
    _, which = learned(toy_rows(9))
    encoded = encode(Dataset.from_list([which.row("word1 word2")]), which, 10, labelled=False)
    assert encoded.references == [] and "labels" not in encoded.examples[0]


def test_a_row_that_cannot_be_read_is_told_by_its_number(monkeypatch):
    _, which = learned(toy_rows(9))
    monkeypatch.setattr("peftkit.data.encoding.BLOCK", 2)
    rows = Dataset.from_dict({"text": ["a", "b", "c", None, "d"]})
    with pytest.raises(UserError, match=r"^split data, row 4: column 'text' is empty or absent$"):
        encode(rows, which, 10, labelled=False)


def test_a_line_of_a_pair_is_parted_by_a_tab():
    assert task(text_pair="other").row("a b\tc") == {"text": "a b", "other": "c"}
    assert task().row("a\tb") == {"text": "a\tb"}
    with pytest.raises(UserError, match="with a tab between, or JSON, given 'a b'"):
        task(text_pair="other").row("a b")


def test_a_json_line_is_a_row_and_not_a_text():
    assert task().row('{"text": "a\\tb", "label": "c"}') == {"text": "a\tb"}
    assert task(text_pair="other").row('{"text": "a", "other": "b\\tc"}') == {"text": "a", "other": "b\tc"}
    for text in ("{not json}", "[1, 2]", "12"):
        assert task().row(text) == {"text": text}
    with pytest.raises(UserError, match=r"""a JSON line without 'text': write {"text": …}, given '{"txt": "a"}'"""):
        task().row('{"txt": "a"}')


# --- The cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("PEFTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_rows_are_encoded_once_for_the_same_content(shelf, monkeypatch):
    rows, which = learned(toy_rows(30))
    first = encode(rows, which, 10)
    monkeypatch.setattr(which, "encode", lambda *_: pytest.fail("encoded again"))
    again = encode(Dataset.from_list(rows.to_list()), which, 10)
    assert again == replace(first, rows=again.rows) and len(list(shelf.iterdir())) == 1


@pytest.mark.parametrize("change", ["content", "limit", "classes", "settings", "processor", "code"])
def test_whatever_decides_the_examples_has_an_entry_of_its_own(change, shelf, monkeypatch):
    rows, which = learned([{**row, "other": row["text"]} for row in toy_rows(30)])
    encode(rows, which, 10)
    limit = 10
    if change == "content":
        rows = rows.select(range(29))
    elif change == "limit":
        limit = 11
    elif change == "classes":
        which.learn(Dataset.from_dict({"label": ["class0", "class1", "class2", "class3"]}))
    elif change == "settings":
        rows, which = learned(rows.to_list(), text="other")
    elif change == "processor":
        which.processor = save_toy_tokenizer(shelf.parent / "other")
    else:
        monkeypatch.setattr("peftkit.data.cache._code", lambda: ["another state of the code"])
    encode(rows, which, limit)
    assert len(list(shelf.iterdir())) == 2


def save_toy_tokenizer(folder: Path) -> Any:
    """The toy tokenizer with a word more."""
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(save_toy(folder))
    other.add_tokens(["word99"])
    return other


def test_a_torn_entry_is_made_again_and_no_cache_is_a_cache_too(shelf, monkeypatch):
    rows, which = learned(toy_rows(30))
    first = encode(rows, which, 10)
    (entry,) = shelf.iterdir()
    entry.write_text(entry.read_text()[:50])
    assert encode(rows, which, 10) == first
    monkeypatch.setenv("PEFTKIT_CACHE", "off")
    assert encode(rows, which, 10) == first
    monkeypatch.setenv("PEFTKIT_CACHE", "/proc/nowhere")
    assert encode(rows, which, 10) == first


def test_what_was_used_longest_ago_makes_room(shelf, monkeypatch):
    rows, which = learned(toy_rows(30))
    encode(rows, which, 10)
    (old,) = shelf.iterdir()
    os.utime(old, (1, 1))
    monkeypatch.setattr("peftkit.data.cache.MOST_BYTES", int(old.stat().st_size * 1.5))
    encode(rows, which, 11)
    assert old not in set(shelf.iterdir()) and len(list(shelf.iterdir())) == 1
