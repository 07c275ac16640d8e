"""Rows from every kind of source: files and their formats, folders and their splits, the hub, Python."""

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pandas
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, IterableDataset, Value, load_from_disk

from peftkit.data import read_file, read_splits
from peftkit.data.columns import MISFIT
from peftkit.errors import UserError
from peftkit.recipe import Data
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
COMPRESSIONS = [".gz", ".bz2", ".xz", ".zst"]


LONG = bytes(range(256)) * 4


def cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def packed(text: bytes, suffix: str) -> bytes:
    """`text` compressed as `suffix` tells."""
    if suffix == ".zst":
        import pyarrow

        with pyarrow.BufferOutputStream() as sink:
            with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
                stream.write(text)
            return sink.getvalue().to_pybytes()
    return {".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(text)


def every(source: Any, given: Any = None, **settings: Any) -> dict[str, Dataset]:
    """All splits of a source."""
    data = Data(source=str(source) if isinstance(source, Path) else source, **settings)
    splits = read_splits(data, given)
    return {name: splits.read(name, ("data", "train")) for name in splits.names or [data.train]}


def sizes(source: Any, **settings: Any) -> dict[str, int]:
    return {name: len(rows) for name, rows in every(source, **settings).items()}


def refusal(source: Any, given: Any = None, **settings: Any) -> str:
    """What is told of a source that is refused: one line, whatever was wrong, that leads to a setting of the data."""
    with pytest.raises(UserError) as refused:
        every(source, given, **settings)
    told = str(refused.value)
    assert len(told.splitlines()) == 1 and len(told) < 500 and refused.value.key[0] == "data"
    return told


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """`rows` in the format that the name of `path` tells."""
    suffix = path.suffix if path.suffix in COMPRESSIONS else ""
    kind = path.name.removesuffix(suffix).rpartition(".")[2]
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
    path.write_bytes(packed(text.encode(), suffix) if suffix else text.encode())
    return path


# --- Files -----------------------------------------------------------------------------------------------------------


COMPRESSED = [kind + by for kind in TEXT_FORMATS for by in COMPRESSIONS]


@pytest.mark.parametrize("name", [*TEXT_FORMATS, *COMPRESSED, ".parquet", ".arrow"])
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
    file = write(tmp_path / f"rows{name}", toy_rows(20))
    first, times = list(read_file(file)), os.stat(file)
    write(file, [{**row, "label": "b" + row["label"][1:]} for row in toy_rows(20)])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size and list(read_file(file)) != first


def test_class_numbers_become_names_and_hidden_ones_are_missing(tmp_path):
    features = Features({"label": ClassLabel(names=["no", "yes"]), "text": Value("string")})
    rows = Dataset.from_dict({"label": [1, 0] * 10, "text": ["a"] * 20}, features=features)
    rows.to_parquet(str(tmp_path / "train.parquet"))
    assert set(every(tmp_path)["train"]["label"]) == {"no", "yes"}
    Dataset.from_dict({"label": [-1, None], "text": ["a"] * 2}, features=features).to_parquet(
        str(tmp_path / "test.parquet")
    )
    assert list(every(tmp_path)["test"]["label"]) == [None, None]


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
        *((f"rows.csv{by}", "not packed", ": cannot be read: ") for by in COMPRESSIONS),
        *((f"rows.csv{by}", packed(b"text,label\n" * 99, by)[:-9], ": cannot be read: ") for by in COMPRESSIONS),
        *((f"rows.csv{by}", packed(LONG, by)[:9] + b"x" * 99, ": cannot be read: ") for by in COMPRESSIONS),
        (
            "rows.csv.gz",
            gzip.compress(b"text,label\n" * 99, mtime=0)[:-3],
            ": cannot be read: Truncated compressed stream",
        ),
        ("rows.csv.gz", "", ": holds no rows"),
        ("rows.csv.lz4", "", ": unknown compression '.lz4' (allowed: .bz2, .gz, .xz, .zst)"),
        ("rows.csv.zip", "", ": unknown compression '.zip' (allowed: .bz2, .gz, .xz, .zst)"),
        ("rows.csv.bz", "", ": unknown compression '.bz', did you mean .bz2? (allowed: .bz2, .gz, .xz, .zst)"),
        ("rows.parquet.gz", "", ": parquet is compressed in itself; unpack the .gz"),
        ("rows.jsn", "", ": unknown format, did you mean .json"),
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
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name}{told}")


# --- Sources ---------------------------------------------------------------------------------------------------------


def test_a_folder_gives_a_split_for_each_data_file_and_other_files_are_left_alone(tmp_path):
    write(tmp_path / "train.jsonl.gz", toy_rows(20))
    write(tmp_path / "test.csv", toy_rows(6))
    write(tmp_path / "valid.v2.tsv", toy_rows(9))
    (tmp_path / "README.md").write_text("# Rows")
    (tmp_path / "labels.json").write_text("no JSON")
    (tmp_path / ".train.jsonl.swp").write_bytes(b"\xff")
    (tmp_path / ".hidden.csv").write_bytes(b"\xff")
    (tmp_path / "nested.json").mkdir()
    splits = read_splits(Data(source=str(tmp_path)))
    assert splits.names == ["labels", "test", "train", "valid"]
    assert [len(splits.read(split, ())) for split in ("test", "train", "valid")] == [6, 20, 9]
    assert "labels.json:1: not valid JSON" in refusal(tmp_path)


def test_two_files_of_one_split_are_refused(tmp_path):
    for name in ("train.jsonl", "train.csv"):
        write(tmp_path / name, toy_rows(20))
    assert "train.csv and train.jsonl are both split 'train'" in refusal(tmp_path)
    (tmp_path / "other").mkdir()
    twice = [str(tmp_path / "train.csv"), str(write(tmp_path / "other" / "train.csv", toy_rows(5)))]
    assert "are both split 'train'" in refusal(twice)


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
    assert refusal(source).startswith(told)


def test_an_empty_folder_is_told(tmp_path):
    formats = ".jsonl, .json, .csv, .tsv, .parquet, .arrow"
    assert refusal(tmp_path) == f"{tmp_path}: holds no data file ({formats}) and no images"


@pytest.mark.parametrize("name", ["glue", "PolyAI/banking77"])
def test_a_hub_name_without_a_hub_says_what_was_looked_for_and_what_to_give(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = refusal(name)
    assert told.startswith(f"data set {name!r} is not a local file or folder and could not be had from the hub (")
    assert told.endswith("give a folder or files instead")


# --- Shards and sub-folders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jsonl", "csv.gz", "json.zst", "parquet", "arrow"])
@pytest.mark.parametrize(
    "name", ["train-{:05d}-of-00011", "train-{}-of-11", "train_{:05d}", "train-{:05d}-of-00011-0af3"]
)
def test_shards_are_one_split_in_the_order_of_their_numbers(name, kind, tmp_path):
    rows = toy_rows(33)
    for number in range(11):
        write(tmp_path / f"{name.format(number)}.{kind}", rows[3 * number : 3 * number + 3])
    assert {split: list(part) for split, part in every(tmp_path).items()} == {"train": rows}
    files = sorted(map(str, tmp_path.iterdir()), reverse=True)
    assert {split: list(part) for split, part in every(files).items()} == {"train": rows}


def test_shards_may_count_from_one_and_a_short_number_is_part_of_a_name(tmp_path):
    for name in ("train-00001-of-00002", "train-00002-of-00002", "news-2014", "news-2015"):
        write(tmp_path / f"{name}.jsonl", toy_rows(3))
    assert sizes(tmp_path) == {"news-2014": 3, "news-2015": 3, "train": 6}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_may_begin_in_a_later_shard_and_be_empty_in_one(kind, tmp_path):
    parts = [[{"text": "a"}], [{"text": None, "label": None}], [{"text": "c", "label": "x"}]]
    for number, part in enumerate(parts):
        write(tmp_path / f"train-{number:05d}.{kind}", part)
    (rows,) = every(tmp_path).values()
    assert list(rows["text"]) == ["a", None, "c"] and list(rows["label"]) == [None, None, "x"]


def test_class_numbers_of_shards_become_names_each_by_its_own_list(tmp_path):
    for number, names in enumerate((["no", "yes"], ["yes", "no"])):
        features = Features({"label": ClassLabel(names=names)})
        Dataset.from_dict({"label": [0, 1]}, features=features).to_parquet(
            str(tmp_path / f"train-{number:05d}.parquet")
        )
    assert list(every(tmp_path)["train"]["label"]) == ["no", "yes", "yes", "no"]


def test_a_missing_shard_is_told(tmp_path):
    for number in (0, 2):
        write(tmp_path / f"train-{number:05d}-of-00003.csv", toy_rows(3))
    assert refusal(tmp_path) == f"{tmp_path}: 2 of 3 shards of split 'train' are there, number 1 is missing"


def test_shards_whose_columns_differ_are_told(tmp_path):
    for number, label in enumerate(("a", 1)):
        write(tmp_path / f"train-{number:05d}.parquet", [{"label": label}])
        write(tmp_path / f"test-{number:05d}.jsonl", [{"label": "a"}, {"label": label}])
    assert "test-00001.jsonl: row 2: column 'label' cannot hold 1 beside the rows above it" in refusal(tmp_path)
    told = refusal([str(tmp_path / f"train-{number:05d}.parquet") for number in (0, 1)])
    assert told.endswith("column 'label' is Value('int64'), but Value('string') in train-00000.parquet")


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "train-00000-of-00001.csv"),
        ("train-00000-of-00002.csv", "train-00001-of-00003.csv"),
        ("train-00000.csv", "train-00000.csv.gz"),
        ("train-00000.csv", "train-00001.jsonl"),
        ("train.csv", "train/rows.csv"),
        ("train/one.csv", "train/two.csv"),
        ("train/0.csv", "train/0.csv.gz"),
        ("train/0.csv", "train/1.jsonl"),
        ("train/one.csv", "train/one.tsv"),
        ("train/a-00000.csv", "train/b-00000.csv"),
    ],
)
def test_files_that_cannot_be_one_split_together_are_refused(names, tmp_path):
    (tmp_path / "train").mkdir()
    for name in names:
        write(tmp_path / name, toy_rows(3))
    assert "are both split 'train'; give the files by split: data.source={train: " in refusal(tmp_path)


def test_sub_folders_named_after_splits_hold_their_files(tmp_path):
    names = ("train/0000.parquet", "train/0001.parquet", "dev/rows.csv", "test/test-00000-of-00001.jsonl", "old/a.csv")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, toy_rows(4))
    assert sizes(tmp_path) == {"dev": 4, "test": 4, "train": 8}
    assert sizes(tmp_path, train="old") == {"dev": 4, "old": 4, "test": 4, "train": 8}


def test_what_datasets_saves_is_read(tmp_path):
    rows = Dataset.from_list(toy_rows(9))
    rows.save_to_disk(str(tmp_path / "one"))
    DatasetDict(train=rows, test=rows.select([1])).save_to_disk(str(tmp_path / "many"))
    assert list(sizes(tmp_path / "one").values()) == [9]
    assert sizes(tmp_path / "many") == {"test": 1, "train": 9}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_told(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert refusal(tmp_path / "closed") == f"{tmp_path / 'closed'}: cannot be read: Permission denied"


# --- Rows from Python ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "of",
    [list, tuple, iter, lambda rows: (row for row in rows), Dataset.from_list],
    ids=["list", "tuple", "iterator", "generator", "Dataset"],
)
def test_rows_from_python_are_those_passed(of):
    rows = toy_rows(9)
    assert list(every("given", of(rows))["train"]) == rows
    assert list(every("given", of(rows), train="all")["all"]) == rows
    both = every("given", {"train": of(rows), "test": of(rows[:2])})
    assert {split: list(part) for split, part in both.items()} == {"train": rows, "test": rows[:2]}


def test_rows_of_datasets_are_taken_as_they_are():
    features = Features({"label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"label": [1, 0]}, features=features)
    splits = every("given", DatasetDict(train=rows, validation=rows))
    assert {split: list(part["label"]) for split, part in splits.items()} == {
        "train": ["yes", "no"],
        "validation": ["yes", "no"],
    }
    for other in (rows.select([1, 0]), rows.with_format("numpy", columns=[])):
        assert set(every("given", other)["train"]["label"]) == {"no", "yes"}
    assert every("given", rows.select([1]))["train"][0] == {"label": "no"}
    streamed = IterableDataset.from_generator(toy_rows, gen_kwargs={"count": 5})
    assert list(every("given", streamed)["train"]) == toy_rows(5)


@pytest.mark.parametrize(
    "given, told",
    [
        (None, "data.source is given: pass rows=… from Python"),
        ([{"text": "a"}, "b"], "train: row 2: expected a dict of columns, found str 'b'"),
        ({"test": [{"text": "a"}, None]}, "test: row 2: expected a dict of columns, found NoneType None"),
        ([{1: "a"}], "train: row 1: 1 is no name of a column"),
        ({"text": "a"}, "text: expected rows, a list of dicts or a DataFrame, found str 'a'"),
        (
            {"train": {"text": ["a"]}},
            "train: expected rows, a list of dicts or a DataFrame, found dict {'text': ['a']}",
        ),
        (3, "train: expected rows, a list of dicts or a DataFrame, found int 3"),
        ([{"text": "a"}, {"text": 3}], "train: row 2: column 'text' cannot hold 3 beside the rows above it"),
        ([{"text": object}], "train: row 1: column 'text' cannot hold <class 'object'>"),
        ([], "train: holds no rows"),
        ({}, "no split 'train' at the source (there are: none)"),
    ],
)
def test_rows_from_python_that_are_no_rows_are_told(given, told):
    assert refusal("given", given) == told


def test_a_data_frame_is_rows():
    frame = pandas.DataFrame(
        {"text": ["a", None, "b"], "label": [1, 2, 3], "score": [0.5, float("nan"), 1]}, index=[7, 8, 9]
    )
    rows = [
        {"text": "a", "label": 1, "score": 0.5},
        {"text": None, "label": 2, "score": None},
        {"text": "b", "label": 3, "score": 1.0},
    ]
    assert list(every("given", frame)["train"]) == rows
    assert {split: list(part) for split, part in every("given", {"train": frame, "test": frame[1:]}).items()} == {
        "train": rows,
        "test": rows[1:],
    }
    assert refusal("given", pandas.DataFrame({3: ["a"]})) == "train: row 1: 3 is no name of a column"


def test_where_rows_may_be_dropped_a_cell_of_another_kind_spoils_its_row_alone(tmp_path):
    cells = [3, "a", "b", ["c"], "d", None, {"e": 1}, "f", True]
    rows = [{"text": cell, "numbers": [i]} for i, cell in enumerate(cells)]
    rows[7]["numbers"], rows[8]["numbers"] = ["x"], []
    write_jsonl(tmp_path / "train.jsonl", rows)
    for splits in (every(tmp_path, invalid_rows="drop"), every("given", rows, invalid_rows="drop")):
        found = splits["train"]
        assert found["text"] == [None, "a", "b", None, "d", None, None, "f", None]
        assert found["numbers"] == [[0], [1], [2], [3], [4], [5], [6], None, []]
        spoiled = [place for place, column in enumerate(found[MISFIT]) if column is not None]
        assert spoiled == [0, 3, 6, 7, 8] and found[MISFIT][7] == "numbers"
    assert "row 2: column 'text' cannot hold 'a' beside the rows above it" in refusal(tmp_path)
    write_jsonl(tmp_path / "train.jsonl", [{"text": "a"}, {"text": "b"}])
    assert every(tmp_path, invalid_rows="drop")["train"].column_names == ["text"]


def test_cells_that_look_alike_and_are_not_spoil_as_few_rows_as_they_must(tmp_path):
    rows = [{"text": {"a": 1}}, {"text": {"a": "x"}}, {"text": {"a": 2}}, {"text": {"b": 3}}]
    found = every(write_jsonl(tmp_path / "rows.jsonl", rows), invalid_rows="drop")["train"]
    assert list(found[MISFIT]) == [None, "text", None, None]


def test_rows_passed_beside_another_source_are_refused(tmp_path):
    told = "rows are passed from Python, but data.source is 'rows.csv'; write given there"
    assert refusal("rows.csv", toy_rows(3)) == told


# --- Files in cells --------------------------------------------------------------------------------------------------


def test_images_in_cells_are_left_packed(tmp_path):
    features = Features({"image": Image(), "label": Value("string")})
    cell = {"bytes": b"no image at all", "path": "a.png"}
    rows = Dataset.from_list(
        [{"image": cell, "label": "a"}], features=Features(features | {"image": Image(decode=False)})
    )
    rows.cast(features).to_parquet(str(tmp_path / "train.parquet"))
    for splits in (every(tmp_path), every("given", rows.cast(features))):
        assert list(splits["train"]) == [{"image": cell, "label": "a"}]


def test_nothing_is_written_beside_the_rows(tmp_path):
    write(tmp_path / "train.jsonl.zst", toy_rows(9))
    write(tmp_path / "test.parquet", toy_rows(9))
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"]), "image": Image()})
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1], "image": [None, None]}, features=features)
    rows.save_to_disk(str(tmp_path / "saved"))
    before = sorted(tmp_path.rglob("*"))
    every(tmp_path)
    every(tmp_path / "saved")
    every("given", load_from_disk(str(tmp_path / "saved")).select([1, 0]))
    assert sorted(tmp_path.rglob("*")) == before
