"""The command line: results on standard output, a line for each mistake on standard error, an exit code to match."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from peftkit.cli import main
from peftkit.record import Record
from tests.conftest import toy_rows, write_jsonl

COMMANDS = (
    ("train",), ("evaluate",), ("predict",), ("bench",), ("report",), ("check",), ("methods",), ("schema",),
    ("recipes",), ("recipes", "list"), ("recipes", "show"), ("recipes", "copy"), ("merge",), ("export",), ("card",),
    ("push",), ("tasks",), ("metrics",),
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def call(*arguments: Any, stdin: str = "") -> Ended:
    """``peftkit ARGUMENTS`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["peftkit", *map(str, arguments)]),
        patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert isinstance(ended.value.code, int)
    return Ended(ended.value.code, out.getvalue(), err.getvalue())


def well(*arguments: Any, stdin: str = "") -> str:
    """Standard output of a command that ends well and has nothing else to say."""
    ended = call(*arguments, stdin=stdin)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def told(*arguments: Any, lines: int = 1) -> str:
    """What a command says of the user's mistake: so many lines, exit code 2, nothing else."""
    ended = call(*arguments)
    assert (ended.code, ended.out) == (2, ""), ended
    assert ended.err.endswith("\n") and len(ended.err.splitlines()) == lines, ended.err
    assert all(line.startswith("peftkit: ") for line in ended.err.splitlines()), ended.err
    return ended.err


def write_recipe(path: Path, model: Path, data: Path) -> Path:
    path.write_text(
        f"""model: {model}
method: lora
task: text-classification
data: {data}
training:
  epochs: 2
  batch_size: 8
  max_length: 32
  learning_rate: 0.005
"""
    )
    return path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, toys: Any, toy_data: Path) -> Path:
    """A toy recipe's file."""
    return write_recipe(tmp_path_factory.mktemp("recipes") / "toy.yaml", toys(), toy_data)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> tuple[Path, str]:
    """A finished run, and what ``peftkit train --json`` printed."""
    folder = tmp_path_factory.mktemp("runs") / "lora"
    return folder, well("train", recipe, "--output", folder, "--json")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, done: tuple[Path, str]) -> Path:
    """An adapter's folder, without recipe and record."""
    folder = tmp_path_factory.mktemp("adapter")
    for name in ("adapter_config.json", "adapter_model.safetensors", "model_config.json"):
        shutil.copy(done[0] / name, folder)
    return folder


class TestHelp:
    """Help is there for every command, at once."""

    @pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
    def test_every_command_helps(self, command: tuple[str, ...]) -> None:
        assert f"peftkit {' '.join(command)}".strip() in well(*command, "--help")

    def test_no_other_commands_are_there(self) -> None:
        from peftkit.cli.commands import app, recipes

        named = {
            (*group, info.name or info.callback.__name__)
            for group, commands in (((), app), (("recipes",), recipes))
            for info in commands.registered_commands
            if info.callback
        }
        assert named == set(COMMANDS) - {("recipes",)}

    def test_help_answers_in_well_under_a_second_and_without_torch(self) -> None:
        """Processor time, which other processes do not stretch; the median of three."""
        used = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([sys.executable, "-m", "peftkit", "--help"], capture_output=True, text=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert (done.returncode, done.stderr) == (0, "")
            used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert sorted(used)[1] < 1

    def test_no_help_loads_torch(self) -> None:
        code = f"""
import sys
from peftkit.cli import main
for command in {COMMANDS!r}:
    sys.argv = ["peftkit", *command, "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code
assert not (loaded := {{"torch", "transformers", "peft", "datasets"}} & set(sys.modules)), loaded
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("command", [(), ("recipes",)])
    def test_a_command_without_arguments_shows_its_help(self, command: tuple[str, ...]) -> None:
        ended = call(*command)
        assert (ended.code, ended.err) == (2, "") and "Usage" in ended.out

    @pytest.mark.parametrize(
        "arguments, expected",
        [
            (["tarin"], "No such command 'tarin'. Did you mean 'train'?"),
            (["recipes", "shwo"], "Did you mean 'show'?"),
            (["train"], "Missing argument 'RECIPE'"),
            (["train", "r.yaml"], "Missing option '--output'"),
            (["train", "r.yaml", "--output"], "requires an argument"),
            (["train", "r.yaml", "-o", "x", "--overwite"], "No such option: --overwite (Possible options:"),
            (["report"], "Missing argument 'DIR'"),
        ],
    )
    def test_a_command_line_that_cannot_be_parsed_is_one_line(self, arguments: list[str], expected: str) -> None:
        assert expected in told(*arguments)


class TestTold:
    """Commands that look and tell, for people and for programs."""

    def test_the_schema_is_that_of_the_library(self) -> None:
        from peftkit.recipe import schema

        assert json.loads(well("schema")) == schema()

    def test_the_methods_are_those_of_the_table_with_their_defaults(self) -> None:
        from peftkit.methods import METHODS

        listed = json.loads(well("methods", "--json"))
        assert list(listed) == list(METHODS)
        assert listed["lora"]["settings"]["r"] == 8 and not listed["full"]["quantized_base"]
        for name, method in METHODS.items():
            assert listed[name]["learning_rate"] == method.learning_rate
            assert f"{name}  (learning rate {method.learning_rate:g}" in well("methods", name)

    def test_recipes_are_listed_shown_and_copied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from peftkit import load_recipe

        listed = json.loads(well("recipes", "list", "--json"))
        assert listed.keys() == {"recipes", "suites"} and "demo" in listed["suites"]
        monkeypatch.chdir(tmp_path)
        for name, path in listed["recipes"].items():
            assert name in well("recipes", "list")
            (tmp_path / "shown.yaml").write_text(well("recipes", "show", name))
            assert load_recipe("shown.yaml") == load_recipe(name)
            assert json.loads(well("recipes", "show", name, "--json"))["hash"] == load_recipe(name).hash
            assert well("recipes", "copy", name) == f"{Path(path).name}\n"
            first, *rest = (tmp_path / Path(path).name).read_text().splitlines()
            assert rest == Path(path).read_text().splitlines()[1:]
            assert first.endswith("$schema=recipe.schema.json") and (tmp_path / "recipe.schema.json").is_file()
            assert "is already there" in told("recipes", "copy", name)
            assert well("recipes", "copy", name, "mine.yaml") == "mine.yaml\n"
            (tmp_path / "mine.yaml").unlink()

    def test_a_shown_recipe_has_the_overrides_laid_over_it(self, recipe: Path) -> None:
        shown = well("recipes", "show", recipe, "method.r=16", "seed=3")
        assert "r: 16" in shown and "seed: 3" in shown

    def test_check_says_what_a_run_would_do(self, recipe: Path, done: tuple[Path, str]) -> None:
        found, record = json.loads(well("check", recipe, "--json")), json.loads(done[1])
        assert found["rows"] == {"train": 96, "validation": 24, "test": 31}
        assert found["optimizer_steps"] == record["resolved"]["total_steps"] == 24
        assert found["trainable_parameters"] == record["costs"]["trainable_parameters"]
        assert found["total_parameters"] == record["costs"]["total_parameters"]
        assert found["recipe_hash"] == record["recipe_hash"]
        shown = well("check", recipe)
        for part in (
            found["recipe_hash"],
            "train 96",
            f"{found['trainable_parameters']:,}",
            "classifier",
            "query, value",
        ):
            assert part in shown

    def test_report_renders_the_records_below_a_folder(self, done: tuple[Path, str]) -> None:
        (row,) = json.loads(well("report", done[0], "--json"))["rows"]
        assert json.loads(well("report", done[0], "--format", "json"))["rows"] == [row]
        assert "lora" in well("report", done[0].parent)
        assert well("report", done[0], "--format", "md").startswith("|")
        assert well("report", done[0], "--format", "csv").splitlines()[0].startswith("title,")
        assert well("report", done[0], "--format", "html").startswith("<!")

    def test_a_table_that_no_terminal_shows_is_in_one_piece(
        self, done: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """rich takes a pipe for a terminal of 80 columns, unless the user has said how many there are."""
        monkeypatch.delenv("COLUMNS", raising=False)
        (row,) = [line for line in well("report", done[0]).splitlines() if line.startswith("lora")]
        monkeypatch.setenv("COLUMNS", "80")
        narrow = well("report", done[0]).splitlines()
        assert len(row) > 80 >= max(map(len, narrow))
        assert len([line for line in narrow if line.startswith("lora")]) > 1


class TestTrained:
    """train, evaluate and predict, one after the other."""

    def test_train_prints_its_record(self, done: tuple[Path, str]) -> None:
        record = Record.model_validate_json(done[1])
        assert record == Record.load(done[0]) and record.status == "ok"

    def test_train_prints_a_table_and_where_things_are(self, recipe: Path, tmp_path: Path) -> None:
        out = well("train", recipe, "method=head", "training.epochs=0.2", "-o", tmp_path / "run")
        assert "head" in out and "accuracy" in out
        assert out.endswith(f"adapter, record and predictions: {tmp_path / 'run'}\n")

    def test_a_finished_run_is_replaced_only_with_overwrite(self, recipe: Path, tmp_path: Path) -> None:
        arguments = ("train", recipe, "method=head", "training.max_steps=1", "--json", "-o", tmp_path / "run")
        first = json.loads(well(*arguments))
        assert "already holds a finished run; give --overwrite" in told(*arguments)
        assert json.loads(well(*arguments, "--overwrite"))["started"] > first["started"]

    def test_evaluate_gives_the_records_scores(self, done: tuple[Path, str]) -> None:
        record = json.loads(done[1])
        found = json.loads(well("evaluate", done[0], "--json"))
        assert found["scores"] == pytest.approx(record["scores"]) and found["detail"] == record["detail"]
        assert (found["split"], found["rows"]) == ("test", 31)
        shown = well("evaluate", done[0])
        assert shown.startswith("test: 31 rows\n") and f"{record['scores']['accuracy']:.4f}" in shown

    def test_evaluate_scores_other_splits_and_other_data(self, done: tuple[Path, str], tmp_path: Path) -> None:
        assert json.loads(well("evaluate", done[0], "--split", "validation", "--json"))["rows"] == 24
        other = write_jsonl(tmp_path / "test.jsonl", toy_rows(12))
        found = json.loads(well("evaluate", done[0], f"data.source={{test: {other}}}", "--json"))
        assert found["rows"] == 12

    def test_predict_reads_arguments_and_standard_input_alike(self, done: tuple[Path, str]) -> None:
        texts = ["word0 word1 word2", "word20 word21", "wörd", "word1"]
        by_arguments = well("predict", done[0], *texts)
        by_input = well("predict", done[0], stdin="".join(f"{text}\n" for text in texts))
        assert by_arguments == by_input
        lines = [json.loads(line) for line in by_input.splitlines()]
        assert [line["input"] for line in lines] == texts
        assert all(line["label"] in ("class0", "class1", "class2") and 1 / 3 < line["score"] <= 1 for line in lines)

    def test_predict_of_nothing_is_nothing(self, done: tuple[Path, str]) -> None:
        assert well("predict", done[0], stdin="") == ""
        ended = call("predict", done[0], stdin="word1\nword\udcff2\n")  # how Python hands on a byte that is no text
        assert (ended.code, ended.out, ended.err) == (2, "", "peftkit: standard input, line 2: not UTF-8 text\n")

    @pytest.mark.parametrize("blank", ["", " \t"])
    def test_predict_refuses_an_empty_line_by_its_number(self, done: tuple[Path, str], blank: str) -> None:
        expected = "peftkit: row 2: an empty line, which says nothing to predict from\n"
        ended = call("predict", done[0], stdin=f"word1\n{blank}\nword2\n")
        assert (ended.code, ended.out, ended.err) == (2, "", expected)
        assert told("predict", done[0], "word1", blank) == expected

    def test_predict_needs_only_the_adapter(self, done: tuple[Path, str], adapter: Path) -> None:
        texts = ["word0 word1 word2", "word20 word21"]
        assert well("predict", adapter, *texts) == well("predict", done[0], *texts)

    def test_an_adapter_is_scored_on_data_that_is_given(
        self, done: tuple[Path, str], adapter: Path, toy_data: Path
    ) -> None:
        assert "an adapter brings no rows to score; give data.source=" in told("evaluate", adapter)
        found = json.loads(well("evaluate", adapter, f"data.source={toy_data}", "--json"))
        assert found["scores"] == pytest.approx(json.loads(done[1])["scores"])

    def test_trackers_keep_what_they_are_told(self, recipe: Path, tmp_path: Path) -> None:
        pytest.importorskip("tensorboard")
        well(
            "train",
            recipe,
            "method=head",
            "training.report_to=[tensorboard]",
            "training.max_steps=2",
            "-o",
            tmp_path / "r",
        )
        assert list((tmp_path / "r").rglob("events.out.tfevents.*"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WRONG: dict[str, tuple[list[str], str]] = {
    "unknown key": (["training.epoch=3"], "command line: training.epoch: unknown key, did you mean epochs? (allowed:"),
    "wrong type": (["training.epochs=many"], "command line: training.epochs: expected a number, given 'many'"),
    "unknown method": (["method=lroa"], "method: unknown method 'lroa', did you mean lora? (allowed: adalora, "),
    "unknown task": (["task=text-clasification"], "task: unknown task 'text-clasification', did you mean text-class"),
    "model folder": (["model=/nowhere"], "command line: model.name: /nowhere: no such folder"),
    "model hub": (["model=org/unheard"], "model 'org/unheard' is not a local folder and could not be had from the hub"),
    "data hub": (
        ["data=org/unheard"],
        "data set 'org/unheard' is not a local file or folder and could not be had from",
    ),
    "data file": (["data=/nowhere.jsonl"], "command line: data.source: /nowhere.jsonl: no such file or folder"),
    "empty data": (["data=HERE/empty"], "HERE/empty/train.jsonl: holds no rows"),
    "broken data": (["data=HERE/broken"], "HERE/broken/train.jsonl:4: not valid JSON"),
    "no data": (["data=HERE/nothing"], "HERE/nothing: holds no data file (.jsonl, .json, .csv"),
    "column": (["task.text=txt"], "no column 'txt' in train, did you mean text? (columns there: text, label)"),
    "one class": (["data=HERE/one"], "RECIPE:3: task.label: the training rows hold one class only ('a')"),
    "unknown label": (
        ["data=HERE/unknown"],
        "split test, row 1: class 'clas1' is unknown in train, did you mean class1?",
    ),
    "full + 4bit": (
        ["method=full", "quantization=4bit"],
        "method full trains the base itself and cannot do so in 4 bits",
    ),
    "target": (
        ["method.target_modules=[nothing]"],
        "'nothing' matches no module of this bert model (linear layers here",
    ),
    "tracker": (
        ["training.report_to=[tensorbord]"],
        "unknown tracker 'tensorbord', did you mean tensorboard? (allowed",
    ),
    "absent tracker": (["training.report_to=[swanlab]"], "training.report_to: tracker 'swanlab' is not installed here"),
    "adalora": (
        ["method=adalora", "training.max_steps=1"],
        "method: adalora: 1 optimizer steps leave no room to prune",
    ),
    "checkpointing": (
        ["method=prefix-tuning", "training.gradient_checkpointing=true"],
        "training.gradient_checkpointing: method prefix-tuning does not work with it; use one of full",
    ),
    "max_length": (["training.max_length=1000"], "max_length: 1000 tokens asked, but the model reads at most 64"),
    "prefix": (
        ["method=prefix-tuning", "training.max_length=60"],
        "60 tokens asked, but the model reads at most 64, 20",
    ),
    "not an override": (["epochs"], "command line: 'epochs': an override is written key=value"),
    "late, with a tracker": (
        ["training.report_to=[tensorboard]", "method.target_modules=[x]"],
        "'x' matches no module",
    ),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data that cannot be learnt from."""
    folder, rows = tmp_path_factory.mktemp("here"), toy_rows(6)
    for name in ("empty", "broken", "nothing", "one", "unknown"):
        (folder / name).mkdir()
    (folder / "empty" / "train.jsonl").write_text("")
    write_jsonl(folder / "broken" / "train.jsonl", rows[:3])
    with (folder / "broken" / "train.jsonl").open("a") as file:
        file.write('{"text": \n')
    (folder / "nothing" / "readme.txt").write_text("nothing here")
    write_jsonl(folder / "one" / "train.jsonl", [{**row, "label": "a"} for row in rows])
    write_jsonl(folder / "unknown" / "train.jsonl", toy_rows(60))
    write_jsonl(folder / "unknown" / "test.jsonl", [{"text": "word1", "label": "clas1"}])
    return folder


class TestWrong:
    """One line, exit code 2, no traceback, nothing written."""

    @pytest.mark.parametrize("case", WRONG)
    @pytest.mark.parametrize("command", ["train", "check"])
    def test_a_recipe_that_cannot_be_run(
        self, command: str, case: str, recipe: Path, here: Path, tmp_path: Path
    ) -> None:
        overrides, expected = WRONG[case]
        before = contents(tmp_path)
        output = ["--output", str(tmp_path / "run")] if command == "train" else []
        said = told(command, recipe, *(override.replace("HERE", str(here)) for override in overrides), *output)
        assert expected.replace("HERE", str(here)).replace("RECIPE", str(recipe)) in said
        assert contents(tmp_path) == before and not (tmp_path / "run").exists()

    def test_all_mistakes_at_once_a_line_each(self, recipe: Path, tmp_path: Path) -> None:
        overrides = ["training.epoch=3", "method.rr=1", "seed=x", "quantization=5bit"]
        said = told("train", recipe, *overrides, "-o", tmp_path / "run", lines=4)
        for key in ("training.epoch", "method.rr", "seed", "quantization"):
            assert f"peftkit: command line: {key}: " in said

    def test_a_mistake_in_the_file_says_its_line(self, recipe: Path, tmp_path: Path) -> None:
        path = tmp_path / "wrong.yaml"
        path.write_text(recipe.read_text().replace("batch_size", "batchsize"))
        assert f"peftkit: {path}:7: training.batchsize: unknown key, did you mean batch_size?" in told("check", path)

    @pytest.mark.parametrize("name", ["none.yaml", "none", "HERE"])
    def test_a_recipe_that_is_not_there(self, name: str, here: Path, tmp_path: Path) -> None:
        said = told("train", name.replace("HERE", str(here)), "-o", tmp_path / "run")
        assert "(there are: " in said and "stdlib-docstrings-minilm" in said and not (tmp_path / "run").exists()

    def test_an_output_folder_that_cannot_be_written(self, recipe: Path, tmp_path: Path) -> None:
        """Below a file, the file itself, and in /proc, where not even root may write."""
        (tmp_path / "file").write_text("mine")
        for output, expected in (
            (tmp_path / "file" / "run", "cannot be written"),
            (tmp_path / "file", "not a folder"),
            (Path("/proc/run"), "cannot be written"),
        ):
            assert f"peftkit: {output}: {expected}" in told("train", recipe, "-o", output)
        assert contents(tmp_path) == {"file": b"mine"}

    def test_an_output_folder_that_holds_something_else(self, recipe: Path, here: Path) -> None:
        before = contents(here)
        for flags in ((), ("--overwrite",)):
            assert "not empty and not a run of peftkit" in told("train", recipe, "-o", here, *flags)
        assert contents(here) == before

    @pytest.mark.parametrize("command", ["evaluate", "predict", "report"])
    def test_a_folder_that_holds_no_run(self, command: str, here: Path) -> None:
        assert f"peftkit: {here / 'none'}: no such folder" in told(command, here / "none")
        said = told(command, here / "nothing")
        assert "no record.json below this folder" in said or "holds neither recipe.yaml" in said
        told(command, here / "empty" / "train.jsonl")

    @pytest.mark.parametrize(
        "arguments, expected",
        [
            (["--split", "tset"], "unknown split 'tset', did you mean test? (allowed:"),
            (["data.source=/nowhere.csv"], "command line: data.source: /nowhere.csv: no such file or folder"),
            (
                ["data.source=HERE/unknown"],
                "task.label: split test, row 1: class 'clas1' is unknown in train, did you mean",
            ),
            (["task.label=lable"], "command line: task.label: no column 'lable' in train, did you mean label?"),
            (["model=/nowhere"], "command line: model.name: /nowhere: no such folder"),
            (["method=head"], "trained with lora as its recipe says"),
            (["method.r=2"], "trained with lora as its recipe says"),
        ],
    )
    def test_an_evaluation_that_cannot_be_made(
        self, arguments: list[str], expected: str, done: tuple[Path, str], here: Path
    ) -> None:
        before = contents(done[0])
        assert expected in told("evaluate", done[0], *(part.replace("HERE", str(here)) for part in arguments))
        assert contents(done[0]) == before

    def test_an_adapter_on_another_base(self, adapter: Path, tmp_path: Path, toys: Any) -> None:
        for name in os.listdir(adapter):
            shutil.copy(adapter / name, tmp_path)
        config = json.loads((tmp_path / "adapter_config.json").read_text())
        (tmp_path / "adapter_config.json").write_text(
            json.dumps(config | {"base_model_name_or_path": str(toys("distilbert"))})
        )
        assert "adapter" in told("predict", tmp_path, "word1")

    def test_a_report_in_an_unknown_format(self, done: tuple[Path, str]) -> None:
        expected = "unknown format 'cvs', did you mean csv? (allowed: csv, html, json, md, table)"
        assert expected in told("report", done[0], "--format", "cvs")


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space_in_rust(*_: Any, **__: Any) -> None:
    """What safetensors raises when it writes itself."""
    from safetensors import SafetensorError

    words = "Error while serializing: I/O error: No space left on device (os error 28)"
    raise SafetensorError(words)


class TestEnds:
    """Runs that do not end well."""

    @pytest.mark.parametrize("full", [no_space, no_space_in_rust])
    @pytest.mark.parametrize("place", ["safetensors.torch.save_file", "peft.peft_model.safe_save_file"])
    def test_a_full_disk_is_one_line_and_a_failed_record(
        self, place: str, full: Any, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a checkpoint is written, and while the adapter is."""
        monkeypatch.setattr(place, full)
        said = told("train", recipe, "-o", tmp_path / "run")
        assert "No space left on device" in said and str(tmp_path / "run") in said
        record = Record.load(tmp_path / "run")
        assert record.status == "failed" and record.error is not None and record.error in said

    def test_a_disk_too_full_for_the_record_is_one_line(
        self, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("peftkit.record.os.fsync", no_space)
        said = told("train", recipe, "method=head", "training.max_steps=1", "training.eval_strategy=no", "-o", tmp_path)
        assert "No space left on device" in said
        assert not [name for name in contents(tmp_path) if "record.json" in name]

    def test_a_failed_run_is_one_line_and_exit_code_1(self, recipe: Path, tmp_path: Path) -> None:
        settings = ["method=full", "training.learning_rate=1.0e+30", "training.max_grad_norm=0"]
        ended = call("train", recipe, *settings, "-o", tmp_path / "run")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("peftkit: the loss is ") and ended.err.count("\n") == 1
        assert Record.load(tmp_path / "run").status == "failed"

    def test_out_of_memory_is_one_line_and_exit_code_1(
        self, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peftkit.training import Loop

        def short(*_: Any) -> None:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes")

        monkeypatch.setattr(Loop, "_step", short)
        ended = call("train", recipe, "-o", tmp_path / "run")
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert ended.err.startswith("peftkit: out of memory ")
        assert Record.load(tmp_path / "run").status == "out-of-memory"

    def test_a_defect_keeps_its_traceback(self, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from peftkit.training import Loop

        monkeypatch.setattr(Loop, "_step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            call("train", recipe, "-o", tmp_path / "run")
        assert Record.load(tmp_path / "run").status == "failed"

    @pytest.mark.slow
    def test_ctrl_c_ends_with_130_and_a_record_that_says_so(self, recipe: Path, tmp_path: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "peftkit",
            "train",
            str(recipe),
            "training.epochs=10000",
            "-o",
            str(tmp_path / "r"),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            waited_until = time.monotonic() + 300
            while not (tmp_path / "r" / "checkpoints").exists():  # the first epoch is over
                assert process.poll() is None and time.monotonic() < waited_until
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert (process.returncode, out, err) == (130, "", "peftkit: interrupted\n")
        record = Record.load(tmp_path / "r")
        assert record.status == "interrupted"
        ended = call("train", recipe, "method=head", "training.max_steps=1", "-o", tmp_path / "r")
        assert ended.code == 0  # the folder of an interrupted run may be used again

    @pytest.mark.parametrize("format", ["table", "csv", "html"])
    def test_a_reader_that_goes_away_is_no_error(self, format: str, done: tuple[Path, str]) -> None:
        """``peftkit report … | head`` when head has ended already."""
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "peftkit", "report", str(done[0]), "--format", format]
        ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        assert ended.stderr == "" and ended.returncode in (0, 1)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize("format", ["table", "csv"])
    def test_output_that_finds_no_room_is_one_line(self, format: str, done: tuple[Path, str]) -> None:
        command = [sys.executable, "-m", "peftkit", "report", str(done[0]), "--format", format]
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert (ended.returncode, ended.stderr) == (
            2,
            "peftkit: the output cannot be written: No space left on device\n",
        )
