"""Rows from every kind of source, their splits and checks, and rows as tokens."""

import gzip
import json
import os
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from peftkit.data import encode, load_splits, read_file
from peftkit.errors import UserError
from peftkit.recipe import Data
from peftkit.tasks.text_classification import TextClassification, TextClassificationSettings
from tests.conftest import toy_rows, write_jsonl

ROWS = [
    {"text": "plain", "label": "a"},
    {"text": "NA", "label": "null"},
    {"text": "", "label": "None"},
    {"text": 'with "quotes", commas\tand tabs', "label": "nan"},
    {"text": "é 漢 🙂 \u2028 \x85", "label": "01"},
    {"text": "  spaces  ", "label": ""},
]
TEXT_FORMATS = [".jsonl", ".json", ".csv", ".tsv"]


def task(**settings: str) -> TextClassification:
    return TextClassification(TextClassificationSettings(**settings))


def load(source: Any, columns: dict[str, str] | None = None, **settings: Any) -> dict[str, Dataset]:
    """The splits of a source, checked as a run checks them."""
    which = task(**columns or {})
    splits = load_splits(Data(source=str(source) if isinstance(source, Path) else source, **settings), which)
    which.learn(splits)
    return splits


def refusal(*args: Any, **settings: Any) -> UserError:
    """The error of a source that is refused: one line, whatever was wrong."""
    with pytest.raises(UserError) as refused:
        load(*args, **settings)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 500
    return refused.value


def cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """`rows` in the format that the name of `path` tells."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind in ("parquet", "arrow"):
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.Table.from_pylist(rows)
        if kind == "parquet":
            pyarrow.parquet.write_table(table, path)
        else:
            with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        return path
    if kind == "jsonl":
        text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    elif kind == "json":
        text = json.dumps(rows, indent=2)
    else:
        lines = [list(rows[0]), *(row.values() for row in rows)]
        text = "".join({"csv": ",", "tsv": "\t"}[kind].join(map(cell, line)) + "\r\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def many(count: int, classes: int = 3) -> list[dict[str, str]]:
    """Rows told apart by their text; class i has about twice the rows of class i+1."""
    labels = [f"c{i}" for i in range(classes) for _ in range(2 ** (classes - i))]
    return [{"text": f"text {i}", "label": labels[i % len(labels)]} for i in range(count)]


def texts(rows: Dataset) -> list[str]:
    return list(rows["text"])


# --- Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TEXT_FORMATS, *(f"{kind}.gz" for kind in TEXT_FORMATS), ".parquet", ".arrow"])
def test_every_format_gives_the_same_rows(name, tmp_path):
    assert list(read_file(write(tmp_path / f"rows{name}", ROWS))) == ROWS


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbftext,label\na,b\n")
    assert list(read_file(tmp_path / "rows.csv")) == [{"text": "a", "label": "b"}]


def test_a_document_may_be_long(tmp_path):
    row = {"text": "word " * 100_000, "label": "a"}
    assert list(read_file(write(tmp_path / "rows.csv", [row]))) == [row]


@pytest.mark.parametrize("name", [".jsonl", ".csv", ".parquet", ".arrow"])
def test_a_file_that_changed_is_read_anew_though_its_time_is_the_same(name, tmp_path):
    file = write(tmp_path / f"rows{name}", many(20))
    first, times = list(read_file(file)), os.stat(file)
    write(file, [{**row, "label": "b" + row["label"][1:]} for row in many(20)])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size and list(read_file(file)) != first


def test_class_numbers_become_names_and_hidden_ones_are_missing(tmp_path):
    features = Features({"label": ClassLabel(names=["no", "yes"]), "text": Value("string")})
    rows = Dataset.from_dict({"label": [1, 0] * 10, "text": ["a"] * 20}, features=features)
    rows.to_parquet(str(tmp_path / "train.parquet"))
    assert set(load(tmp_path)["train"]["label"]) == {"no", "yes"}
    Dataset.from_dict({"label": [-1, None], "text": ["a"] * 2}, features=features).to_parquet(
        str(tmp_path / "test.parquet")
    )
    assert "test, row 1: column 'label' is empty" in str(refusal(tmp_path))


def test_a_column_may_begin_in_a_later_row(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b", "label": "x"}\n')
    assert list(read_file(tmp_path / "rows.jsonl")) == [{"text": "a", "label": None}, {"text": "b", "label": "x"}]


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("rows.jsonl", '{"text": "a"}\n\n{"text": }\n', ":3: not valid JSON: Expecting value (column 10)"),
        ("rows.jsonl", '{"text": "a"}\n{"text": "b"', ":2: not valid JSON"),
        ("rows.jsonl", '{"text": "a"}\n"b"\n', ":2: expected an object with columns, found 'b'"),
        ("rows.jsonl", "null\n", ":1: expected an object with columns, found None"),
        ("rows.json", '[\n{"text": "a"},\n{"text": "b"}\n{}]', ":4: not valid JSON"),
        ("rows.json", '[{"text": "a"}, 3]', ":1: expected an object with columns, found 3"),
        ("rows.csv", "text,label\na,b\nc\n", ":3: 1 cells in a row of 2 columns"),
        ("rows.csv", 'text,label\n"a\nb",c\nd,e,f\n', ":4: 3 cells in a row of 2 columns"),
        ("rows.tsv", "text\tlabel\na\tb\tc\n", ":2: 3 cells in a row of 2 columns"),
        ("rows.csv", 'text,label\n"a"b,c\n', ":2: not valid CSV"),
        ("rows.csv", 'text,label\n\na,b\n\n"a"b,c\n', ":5: not valid CSV"),
        ("rows.csv", 'text,label\na,b\n"a,b\nc,d\n', ":3: not valid CSV: unexpected end of data"),
        ("rows.csv", "text,text\na,b\n", ":1: column 'text' is there twice"),
        ("rows.csv", b"text,label\n\xe9,b\n", ": not UTF-8 text (byte 11)"),
        ("rows.jsonl", "{}".encode("utf-16"), ": not UTF-8 text (byte 0)"),
        ("rows.jsonl", "", ": holds no rows"),
        ("rows.jsonl", "\n\n", ": holds no rows"),
        ("rows.jsonl", "{}\n{}\n", ": holds no rows"),
        ("rows.json", "[]", ": holds no rows"),
        ("rows.json", "", ": holds no rows"),
        ("rows.csv", "", ": holds no rows"),
        ("rows.csv", "text,label\n", ": holds no rows"),
        ("rows.parquet", "no parquet at all", ": not parquet: "),
        ("rows.parquet", "", ": not parquet: "),
        ("rows.arrow", "no arrow at all", ": not arrow: "),
        ("rows.csv.gz", "not packed", ": cannot be read: Not a gzipped file"),
        ("rows.csv.gz", gzip.compress(b"text,label\n" * 99)[:-9], ": cannot be read: Compressed file ended"),
        ("rows.csv.gz", gzip.compress(os.urandom(999))[:20] + b"x" * 99, ": cannot be read: "),
        ("rows.jsonl", '{"text": "a"}\n{"text": 3}\n', ": row 2: column 'text' cannot hold 3 beside the rows above it"),
        ("rows.jsonl", '{"text": "a"}\n' * 9 + '{"text": ["b"]}\n', ": row 10: column 'text' cannot hold ['b'] beside"),
        ("rows.jsonl", '{"label": 1%s}\n' % ("0" * 40), ": row 1: column 'label' cannot hold 1000"),
        ("rows.jsonl", '{"text": "\\ud800"}\n', ": row 1: column 'text' cannot hold '\\ud800'"),
        ("rows.txt", "a\n", ": unknown format (allowed: .jsonl, .json, .csv"),
        ("rows", "a\n", ": unknown format (allowed: .jsonl, .json, .csv"),
    ],
)
def test_an_unreadable_file_is_told_with_its_line(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert str(refusal(tmp_path / name)).startswith(f"{tmp_path / name}{told}")


# --- Sources ---------------------------------------------------------------------------------------------------------


def test_a_folder_gives_a_split_for_each_data_file_and_other_files_are_left_alone(tmp_path):
    write(tmp_path / "train.jsonl.gz", many(20))
    write(tmp_path / "test.csv", many(6))
    write(tmp_path / "valid.v2.tsv", many(9))
    (tmp_path / "README.md").write_text("# Rows")
    (tmp_path / "labels.json").write_text("no JSON")
    (tmp_path / ".train.jsonl.swp").write_bytes(b"\xff")
    (tmp_path / ".hidden.csv").write_bytes(b"\xff")
    (tmp_path / "nested.json").mkdir()
    splits = load(tmp_path)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 20, "validation": 9, "test": 6}
    assert "labels.json:1: not valid JSON" in str(refusal(tmp_path, test="labels"))


def test_two_files_of_one_split_are_refused(tmp_path):
    for name in ("train.jsonl", "train.csv"):
        write(tmp_path / name, many(20))
    assert "train.csv and train.jsonl are both split 'train'" in str(refusal(tmp_path))
    (tmp_path / "other").mkdir()
    twice = [str(tmp_path / "train.csv"), str(write(tmp_path / "other" / "train.csv", many(5)))]
    assert "are both split 'train'" in str(refusal(twice))


def test_files_by_split_and_in_a_list(tmp_path):
    one, other = (str(write(tmp_path / f"{name}.csv", many(count))) for name, count in (("train", 20), ("test", 5)))
    for source in ({"train": one, "test": other}, [one, other], tmp_path):
        splits = load(source)
        assert {split: len(rows) for split, rows in splits.items()} == {"test": 5, "train": 18, "validation": 2}
    assert len(load({"all": one, "held": other}, train="all", validation="held")["train"]) == 20


def test_one_file_is_the_training_rows_whatever_its_name(tmp_path):
    file = write(tmp_path / "everything.csv", many(20))
    for source in (file, tmp_path, [str(file)], {"any": str(file)}):
        assert {split: len(rows) for split, rows in load(source).items()} == {"train": 18, "validation": 2}


@pytest.mark.parametrize(
    "source, told",
    [
        ("nowhere/at/all", "nowhere/at/all: no such file or folder"),
        ("./nowhere", "./nowhere: no such file or folder"),
        ("nowhere.csv", "nowhere.csv: no such file or folder"),
        ("nowhere.jsonl.gz", "nowhere.jsonl.gz: no such file or folder"),
        (["nowhere.csv"], "nowhere.csv: no such file"),
        ({"train": "nowhere.csv"}, "nowhere.csv: no such file"),
        ([], "no split 'train' at the source (there are: none)"),
        ({}, "no split 'train' at the source (there are: none)"),
        ("builtin:stdlib-docstring", "unknown built-in source 'stdlib-docstring', did you mean stdlib-docstrings?"),
    ],
)
def test_a_source_that_is_not_there_is_told(source, told):
    error = refusal(source)
    assert str(error).startswith(told) and error.key[0] == "data"


def test_an_empty_folder_is_told(tmp_path):
    assert str(refusal(tmp_path)) == f"{tmp_path}: holds no data file (.jsonl, .json, .csv, .tsv, .parquet, .arrow)"


@pytest.mark.parametrize("name", ["glue", "PolyAI/banking77"])
def test_a_hub_name_without_a_hub_says_what_was_looked_for_and_what_to_give(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = str(refusal(name))
    assert told.startswith(f"data set {name!r} is not a local file or folder and could not be had from the hub (")
    assert told.endswith("give a folder or files instead")


def test_the_built_in_source_has_three_splits():
    splits = load("builtin:stdlib-docstrings", max_train_samples=200, max_eval_samples=100, max_predict_samples=90)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 200, "test": 90, "validation": 100}


# --- Splits and columns ----------------------------------------------------------------------------------------------


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
    assert str(error) == f"train, row 7: column {column!r} is empty" and error.key == ("task", column)


@pytest.mark.parametrize("bad", [3, 2.5, True, ["a", "b"], [], {"a": 1}])
def test_a_text_that_is_not_text_is_told_with_its_row(bad, three):
    write_jsonl(three / "test.jsonl", [{"text": bad, "label": "c0"}] * 2)
    error = refusal(three)
    assert str(error).startswith("split test, row 1: column 'text' holds ") and error.key == ("task", "text")
    assert str(error).endswith(", which is not text")


@pytest.mark.parametrize("bad", [["c0", "c1"], [], {"a": 1}])
def test_a_class_that_is_a_list_is_told_with_its_row(bad, three):
    write_jsonl(three / "train.jsonl", [{"text": "a", "label": bad}] * 40)
    assert str(refusal(three)).startswith("split train, row 1: column 'label' holds ")


def test_one_class_only_is_refused(three):
    write_jsonl(three / "train.jsonl", [{"text": "a", "label": "c0"}] * 9)
    assert str(refusal(three)) == "the training rows hold one class only ('c0'); two are needed"


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_class_unknown_in_train_is_told_with_the_nearest(split, three):
    write_jsonl(three / f"{split}.jsonl", [*many(3), {"text": "a", "label": "c11"}])
    error = refusal(three)
    name = {"dev": "validation", "test": "test"}[split]
    assert str(error).startswith(f"split {name} has the class 'c11', unknown in train, did you mean c1?")
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
    learner.learn({"train": Dataset.from_list([{"text": "a", "label": label} for label in labels])})
    assert list(learner.names) == names
    assert learner.config()["label2id"] == {name: number for number, name in enumerate(names)}
    again = task()
    again.restore(json.loads(json.dumps(learner.config())))
    assert again.names == learner.names


# --- Shares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", ["10%", "33%", "12.5%", "50%", "70%"])
@pytest.mark.parametrize("count", [30, 101])
def test_a_share_is_disjoint_complete_and_in_proportion(share, count, tmp_path):
    file = write(tmp_path / "rows.csv", many(count, classes=4))
    splits = load(file, validation=share)
    cut, kept = texts(splits["validation"]), texts(splits["train"])
    assert sorted(cut + kept) == sorted(row["text"] for row in many(count)) and not set(cut) & set(kept)
    part = Fraction(share[:-1]) / 100
    whole, taken = (Counter(row["label"] for row in rows) for rows in (many(count, 4), splits["validation"]))
    assert all(abs(taken[label] - part * size) <= 1 for label, size in whole.items())
    assert abs(len(cut) - part * count) <= 1
    assert kept == [text for text in (row["text"] for row in many(count)) if text in set(kept)], "old order"


def test_both_cuts_leave_three_disjoint_parts(tmp_path):
    splits = load(write(tmp_path / "rows.csv", many(100)), validation="10%", test="20%")
    parts = [set(texts(rows)) for rows in splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 72, "test": 20, "validation": 8}


def test_a_cut_depends_on_its_own_seed_alone(tmp_path):
    file = write(tmp_path / "rows.csv", many(100))
    cuts = [texts(load(file, validation="20%", split_seed=seed)["validation"]) for seed in (0, 0, 1)]
    assert cuts[0] == cuts[1] != cuts[2]


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_keeps_a_row_in_train(seed, tmp_path):
    rows = [{"text": str(i), "label": label} for i, label in enumerate("a" * 12 + "bcdefgh")]
    splits = load(write(tmp_path / "rows.csv", rows), validation="50%", split_seed=seed)
    assert set(splits["train"]["label"]) == set("abcdefgh") and len(splits["validation"]) > 0


@pytest.mark.parametrize("share", ["0%", "100%", "1%", "99.9%"])
def test_a_share_that_leaves_one_side_empty_is_refused(share, tmp_path):
    file = write(tmp_path / "rows.csv", many(20))
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


@pytest.fixture(scope="module")
def tokenizer(toys):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(toys("bert"))


def learned(rows: list[dict[str, Any]], **columns: str) -> tuple[Dataset, TextClassification]:
    table, which = Dataset.from_list(rows), task(**columns)
    which.learn({"train": table})
    return table, which


@pytest.mark.parametrize("max_length", [2, 6, 12, 13, 21, 22, 64])
def test_rows_are_cut_to_the_limit_and_counted_exactly(max_length, tokenizer):
    rows, which = learned(toy_rows(60))
    whole = [len(row["text"].split()) + 2 for row in rows]  # a token a word, and [CLS] and [SEP]
    encoded = encode(rows, which, tokenizer, max_length)
    assert encoded.lengths == [min(length, max_length) for length in whole]
    assert encoded.cut == sum(length > max_length for length in whole)
    assert encoded.summary()["tokens"] == sum(encoded.lengths) and len(encoded) == 60


def test_rows_of_pairs_are_cut_and_counted_exactly(tokenizer):
    rows, which = learned([{**row, "other": row["text"]} for row in toy_rows(60)], text_pair="other")
    whole = [2 * len(row["text"].split()) + 3 for row in rows]
    encoded = encode(rows, which, tokenizer, 25)
    assert encoded.lengths == [min(length, 25) for length in whole]
    assert encoded.cut == sum(length > 25 for length in whole) > 0
    assert all({0, 1} == set(row["token_type_ids"]) for row in encoded.features)


def test_every_row_is_encoded_in_order_over_many_blocks(tokenizer, monkeypatch):
    rows, which = learned(toy_rows(25))
    whole = encode(rows, which, tokenizer, 10)
    monkeypatch.setattr("peftkit.data.encoding.BLOCK", 4)
    assert encode(rows, which, tokenizer, 10) == whole
    assert [which.names[row["labels"]] for row in whole.features] == list(rows["label"]) == whole.references


def test_the_fingerprint_tells_other_content_apart(tokenizer):
    rows, which = learned(toy_rows(9))
    prints = [encode(rows.select(chosen), which, tokenizer, 10).fingerprint for chosen in (range(9), range(8), [1, 0])]
    assert len(set(prints)) == 3 and prints[0] == encode(rows, which, tokenizer, 10).fingerprint


def test_an_empty_text_is_text(tokenizer):
    rows, which = learned([{"text": "", "label": "a"}, {"text": "word1", "label": "b"}])
    assert encode(rows, which, tokenizer, 10).lengths == [2, 3]


def test_rows_without_labels_are_encoded_without(tokenizer):
    _, which = learned(toy_rows(9))
    encoded = encode(Dataset.from_list([which.row("word1 word2")]), which, tokenizer, 10, labelled=False)
    assert encoded.references == [] and "labels" not in encoded.features[0]


def test_a_row_that_cannot_be_read_is_told_by_its_number(tokenizer, monkeypatch):
    _, which = learned(toy_rows(9))
    monkeypatch.setattr("peftkit.data.encoding.BLOCK", 2)
    rows = Dataset.from_dict({"text": ["a", "b", "c", None, "d"]})
    with pytest.raises(UserError, match=r"^row 4 cannot be read: "):
        encode(rows, which, tokenizer, 10, labelled=False)


def test_a_line_of_a_pair_is_parted_by_a_tab():
    assert task(text_pair="other").row("a b\tc") == {"text": "a b", "other": "c"}
    assert task().row("a\tb") == {"text": "a\tb"}
    with pytest.raises(UserError, match="with a tab between, given 'a b'"):
        task(text_pair="other").row("a b")
