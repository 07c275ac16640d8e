"""The record: written whole or not at all, read back equal, refused in one line when it is something else."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from peftkit.errors import UserError
from peftkit.record import (
    PREDICTIONS_FILE,
    RECORD_FILE,
    SCHEMA_VERSION,
    Record,
    content_of,
    environment,
    load_records,
    now,
    save_predictions,
    whole_file,
)

LORA = {"model": {"name": "m"}, "method": {"name": "lora", "r": 16}, "quantization": {"bits": 4}}


def record(**fields: Any) -> Record:
    given = {"status": "ok", "started": now(), "seconds": 1.5, "recipe": LORA, "recipe_hash": "0" * 16}
    return Record(**given | fields)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        Record.load(path)
    (line,) = str(refused.value).splitlines()
    return line


def test_a_record_is_read_back_equal_from_file_and_folder(tmp_path):
    written = record(
        scores={"accuracy": 0.5},
        costs={"adapter_bytes": 12, "memory": {"train": {"resident": 3}}, "energy": None},
        history=[{"step": 1, "loss": 0.25}],
        status="failed",
        error="one line\nand a traceback",
    )
    path = written.save(tmp_path)
    assert path == tmp_path / RECORD_FILE and Record.load(path) == Record.load(tmp_path) == written
    assert json.loads(path.read_text())["schema_version"] == SCHEMA_VERSION
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_score_that_is_no_number_survives_and_the_file_stays_json(tmp_path):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    path = record(scores={"loss": math.nan, "worse": math.inf}).save(tmp_path)
    json.loads(path.read_text(), parse_constant=refuse)
    scores = Record.load(path).scores
    assert math.isnan(scores["loss"]) and scores["worse"] == math.inf


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(error, tmp_path):
    old = record().save(tmp_path).read_bytes()

    def write_half() -> None:
        with whole_file(tmp_path / RECORD_FILE) as temporary:
            temporary.write_text("half a rec")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert [file.name for file in tmp_path.iterdir()] == [RECORD_FILE]
    assert (tmp_path / RECORD_FILE).read_bytes() == old


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("failing", ["pyarrow.parquet.write_table", "os.fsync"])
def test_predictions_are_written_whole_or_not_at_all(failing, tmp_path, monkeypatch):
    rows = [
        {"row": 0, "reference": "a", "label": "b", "score": 0.5},
        {"row": 1, "reference": "b", "label": "é", "score": 1},
    ]
    path = save_predictions(rows, tmp_path)
    assert path == tmp_path / PREDICTIONS_FILE and pyarrow.parquet.read_table(path).to_pylist() == rows

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match="No space left"):
        save_predictions(rows[:1], tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [PREDICTIONS_FILE]
    assert pyarrow.parquet.read_table(path).num_rows == 2


@pytest.mark.parametrize(
    "content, told",
    [
        ("", "not a record: "),
        ("garbage", "not a record: "),
        ("null", "not a record: "),
        ("[]", "not a record: "),
        ("{}", "not a record: status: Field required"),
        (b"\xff\xfe", "not a record: not UTF-8 text"),
    ],
)
def test_what_is_not_a_record_is_refused_in_one_line(content, told, tmp_path):
    path = tmp_path / RECORD_FILE
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refusal(path).startswith(f"{path}: {told}")


@pytest.mark.parametrize("change", [{"sttaus": "ok"}, {"status": "great"}, {"seconds": "long"}, {"recipe": None}])
def test_a_record_with_other_fields_is_refused_naming_them(change, tmp_path):
    path = tmp_path / RECORD_FILE
    path.write_text(json.dumps(json.loads(record().model_dump_json()) | change))
    assert refusal(path).startswith(f"{path}: not a record: {next(iter(change))}: ")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_record_of_another_schema_version_is_refused(version, tmp_path):
    path = record().save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    assert refusal(path) == f"{path}: a record of schema version {version!r}; this peftkit reads version 1"


def test_what_is_not_there_is_told(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path / RECORD_FILE}: cannot be read: No such file or directory"
    for folder, told in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "no record.json below this folder")):
        with pytest.raises(UserError, match=told):
            load_records(folder)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        content_of(tmp_path / "nowhere.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match=r"bad\.json: not valid JSON"):
        content_of(tmp_path / "bad.json")


def test_all_records_below_a_folder_are_found_with_their_folders(tmp_path):
    for name in ("b", "a/deep"):
        (tmp_path / name).mkdir(parents=True)
        record(error=name).save(tmp_path / name)
    assert [(folder, found.error) for folder, found in load_records(tmp_path)] == [
        (tmp_path / "a" / "deep", "a/deep"),
        (tmp_path / "b", "b"),
    ]


@pytest.mark.parametrize(
    "recipe, title",
    [
        ({"method": {"name": "lora"}}, "lora"),
        (LORA, "lora r=16, 4bit"),
        ({"method": {"name": "bottleneck", "variant": "houlsby"}, "quantization": None}, "bottleneck houlsby"),
        ({"method": {"name": "head"}, "quantization": {"bits": 8}}, "head, 8bit"),
    ],
)
def test_the_title_is_the_method_its_given_settings_and_the_quantization(recipe, title):
    assert record(recipe=recipe).title == title


def test_the_environment_names_versions_machine_and_the_state_of_the_code():
    found = environment({"device": "cpu"})
    assert found["versions"]["peftkit"] and found["versions"]["torch"]
    assert found["hardware"]["device"] == "cpu" and found["hardware"]["cores"] >= 1 and found["hardware"]["processor"]
    git = found["git"]
    assert git is None or (len(git["commit"]) == 40 and isinstance(git["dirty"], bool))
    assert json.loads(json.dumps(found)) == found


def test_records_are_read_without_torch(tmp_path):
    record().save(tmp_path)
    code = (
        "import sys, pathlib, peftkit.record\n"
        "peftkit.record.load_records(pathlib.Path('.'))\n"
        "print(*{'torch', 'transformers', 'datasets', 'pyarrow', 'sklearn'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path).split() == []
