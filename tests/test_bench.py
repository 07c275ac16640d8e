"""The bench: a suite becomes cells, every cell leaves a record, and what is done is not done again."""

from __future__ import annotations

import functools
import itertools
import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftkit.contracts import Step, Watcher
from peftkit.errors import RecipeErrors, UserError
from peftkit.record import Record, now
from peftkit.reports import report
from peftkit.suites import Cell, bench, load_suite
from peftkit.suites.process import start_method
from peftkit.suites.running import BenchWatcher

BASE = """\
model: org/base
method: lora
task: text-classification
data: rows.jsonl
training:
  epochs: 2
"""
Execute = Callable[[Cell, Path, Path, Watcher], str | None]


@pytest.fixture
def suite(tmp_path: Path) -> Any:
    """``suite("vary: …")``: the path of a suite over `BASE`, which stands beside it."""
    (tmp_path / "base.yaml").write_text(BASE)

    def write(text: str, base: str = "base: base.yaml\n") -> Path:
        path = tmp_path / "suite.yaml"
        path.write_text(base + text)
        return path

    return write


def record_of(cell: Cell, status: Any = "ok", **fields: Any) -> Record:
    """A record such as a run of `cell` leaves."""
    return Record(
        status=status, started=now(), seconds=1.0, recipe=cell.recipe.given(), recipe_hash=cell.recipe.hash, **fields
    )


class Executor:
    """Runs no cell: leaves a record of the status that a cell's method is given, and remembers the calls."""

    def __init__(self, **statuses: str) -> None:
        self.statuses, self.calls = statuses, []

    def __call__(self, cell: Cell, folder: Path, log: Path, watcher: Watcher) -> str | None:
        self.calls: list[str]
        self.calls.append(cell.recipe.method.name)
        status = self.statuses.get(cell.recipe.method.name, "ok")
        folder.mkdir(parents=True)
        record_of(cell, status, error=None if status == "ok" else "the reason").save(folder)
        return None if status == "ok" else "exit code 1"


class TestSuite:
    """A suite becomes cells."""

    def test_a_grid_is_the_product_of_its_lists_and_grids_follow_each_other(self, suite: Any) -> None:
        cells = load_suite(
            suite("vary:\n  - {method: [head, lora], seed: [1, 2, 3]}\n  - {quantization: [8bit], method: [bitfit]}\n")
        )
        found = [(cell.recipe.method.name, cell.recipe.seed, cell.recipe.quantization) for cell in cells]
        assert found[:6] == [(*pair, None) for pair in itertools.product(("head", "lora"), (1, 2, 3))]
        assert [(name, seed, bits.bits) for name, seed, bits in found[6:] if bits] == [("bitfit", 0, 8)]

    def test_what_is_not_varied_is_the_bases(self, suite: Any) -> None:
        for cell in load_suite(suite("vary: {method: [head, lora]}")):
            assert cell.recipe.training.epochs == 2 and cell.recipe.model.name == "org/base"

    def test_short_and_long_forms_and_dotted_keys_say_the_same(self, suite: Any) -> None:
        forms = [
            "vary: {method: [{name: lora, r: 16}], quantization: [{bits: 4, double: true}], data: [{source: x.csv}]}",
            "vary: {method.r: [16], quantization: [{bits: 4, double: true}], data.source: [x.csv]}",
            "vary: {method: [lora], method.r: [16], quantization: [4bit], quantization.double: [true], data: [x.csv]}",
        ]
        recipes = [load_suite(suite(form))[0].recipe for form in forms]
        assert recipes[0] == recipes[1] == recipes[2]
        assert recipes[0].given()["method"] == {"name": "lora", "r": 16}

    def test_a_dotted_key_opens_a_group_that_the_base_does_not_have(self, suite: Any) -> None:
        cells = load_suite(suite("vary: {quantization.bits: [4, 8], training.learning_rate: [0.1]}"))
        assert [cell.recipe.quantization.bits for cell in cells if cell.recipe.quantization] == [4, 8]
        assert cells[0].recipe.training.learning_rate == 0.1 and cells[0].recipe.training.epochs == 2

    def test_recipes_that_mean_the_same_are_one_cell(self, suite: Any) -> None:
        text = "vary: [{method: [lora, {name: lora}], seed: [0, 0]}, {method: [lora]}, {quantization: [none]}]"
        assert len(load_suite(suite(text))) == 1

    def test_an_empty_grid_is_the_base_itself(self, suite: Any) -> None:
        (cell,) = load_suite(suite("vary: {}"))
        assert re.fullmatch(r"base-[0-9a-f]{8}", cell.name)

    def test_names_are_unique_short_and_safe_as_folders(self, suite: Any) -> None:
        values = ["lora", "{name: lora, target_modules: [a/b, '../c']}", f"{{name: lora, target_modules: {'x' * 300}}}"]
        text = f"vary:\n  method: [{', '.join(values)}]\n  model: [./here, /abs/olute, 'ü ö']\n  data: [a: b]\n"
        cells = load_suite(suite(text.replace("a: b", "{source: {train: a.csv, test: b.csv}}")))
        names = [cell.name for cell in cells]
        assert len(set(names)) == len(names) == 9
        for name in names:
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.=_-]*-[0-9a-f]{8}", name) and len(name) < 128

    def test_a_name_says_what_is_varied(self, suite: Any) -> None:
        text = "vary: {method: [{name: lora, r: 16}], quantization: [4bit], seed: [1], training.epochs: [3]}"
        assert load_suite(suite(text))[0].name.rpartition("-")[0] == "lora-r16-4bit-seed1-epochs3"

    def test_a_cell_keeps_its_name_in_every_run(self, suite: Any) -> None:
        names = {cell.name for cell in load_suite(suite("vary: {method: [head, lora]}"))}
        assert names < {cell.name for cell in load_suite(suite("vary: {method: [bitfit, lora, head]}"))}

    @pytest.mark.parametrize("base", ["base: base.yaml\n", "base: {base}\n", f"base: {json.dumps({'seed': 7})}\n"])
    def test_the_base_stands_beside_the_suite_or_anywhere_or_in_it(
        self, base: str, suite: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir("/")
        text = "vary: {method: [head], model: [org/base], data: [rows.jsonl], task: [text-classification]}"
        (cell,) = load_suite(suite(text, base.replace("{base}", str(tmp_path / "base.yaml"))))
        assert (cell.recipe.seed == 7) == ("seed" in base) and (cell.recipe.training.epochs == 2) != ("seed" in base)

    def test_the_base_may_be_a_shipped_recipe(self, suite: Any) -> None:
        from peftkit import load_recipe

        (cell,) = load_suite(suite("vary: {}", "base: stdlib-docstrings-minilm\n"))
        assert cell.recipe == load_recipe("stdlib-docstrings-minilm")

    def test_overrides_are_laid_over_the_base_and_varied_keys_over_both(self, suite: Any) -> None:
        path = suite("vary: {method: [head], seed: [1]}")
        (cell,) = load_suite(path, ["training.epochs=5", "seed=9", "model.dtype=bfloat16"])
        assert (cell.recipe.training.epochs, cell.recipe.seed, cell.recipe.model.dtype) == (5, 1, "bfloat16")

    def test_mistakes_are_told_all_at_once_with_file_line_and_cells(self, suite: Any) -> None:
        path = suite(
            "vary:\n  method:\n    - lroa\n    - {name: lora, rr: 3}\n    - full\n  quantization: [none, 4bit]\n"
        )
        with pytest.raises(RecipeErrors) as error:
            load_suite(path, ["training.epoch=3"])
        told = error.value.lines
        assert [
            line for line in told if line.startswith(f"{path}:4: method: unknown method 'lroa', did you mean lora?")
        ]
        assert [line for line in told if line.startswith(f"{path}:5: method.rr: unknown key, did you mean r?")]
        assert [
            line for line in told if line.startswith("command line: training.epoch: unknown key, did you mean epochs?")
        ]
        assert told[0].endswith("(in cell lroa-none, lroa-4bit)")
        assert len(told) == len(set(told)) == 3  # a mistake of the base is told once, not once a cell

    def test_what_does_not_go_together_is_told_where_it_was_varied(self, suite: Any) -> None:
        with pytest.raises(RecipeErrors) as error:
            load_suite(path := suite("vary:\n  method: [full, lora]\n  quantization:\n    - none\n    - 4bit\n"))
        (line,) = error.value.lines
        assert line.startswith(f"{path}:6: quantization: method full trains the base itself")
        assert line.endswith("(in cell full-4bit)")

    def test_a_mistake_of_the_base_is_told_in_the_base(self, suite: Any, tmp_path: Path) -> None:
        path = suite("vary: {method: [head, lora]}")
        (tmp_path / "base.yaml").write_text(f"{BASE}  batchsize: 3\n")
        with pytest.raises(RecipeErrors) as error:
            load_suite(path)
        (line,) = error.value.lines
        assert line.startswith(f"{tmp_path / 'base.yaml'}:7: training.batchsize: unknown key, did you mean batch_size?")

    @pytest.mark.parametrize(
        "text, base, told",
        [
            ("varry: {method: [lora]}", None, ["2: varry: unknown key, did you mean vary?", "1: vary: required"]),
            ("vary: 3", None, ["2: vary: expected a list of values"]),
            ("vary: []", None, ["2: vary: an empty list"]),
            ("vary: {method: lora}", None, ["2: vary.0.method: expected a list of values"]),
            ("vary:\n  - seed: [1]\n  - method: []", None, ["4: vary.1.method: an empty list"]),
            ("vary:\n  - 3", None, ["3: vary.0: expected recipe keys, each with a list of values"]),
            ("vary: {}", "base: [3]\n", ["1: base: expected text, or a recipe's content"]),
            ("vary: {}", "base: demmo\n", ["1: base: no recipe named 'demmo'"]),
            ("vary: {training.epochs.x: [3]}", None, ["2: training.epochs.x: training.epochs has no keys below it"]),
        ],
    )
    def test_a_suite_that_is_none_is_told_with_its_line(
        self, text: str, base: str | None, told: list[str], suite: Any
    ) -> None:
        path = suite(text, base) if base else suite(text)
        with pytest.raises(UserError) as error:
            load_suite(path)
        lines = str(error.value).splitlines()
        assert len(lines) == len(told)
        for expected in told:
            assert any(line.startswith(f"{path}:{expected}") for line in lines), lines

    def test_a_suite_that_is_not_there_is_told_with_those_that_are(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no suite named 'dmo', did you mean demo\?"):
            load_suite("dmo")
        with pytest.raises(UserError, match=r"none.yaml: no such file"):
            load_suite(tmp_path / "none.yaml")


class TestRunning:
    """Every cell leaves a record."""

    def test_cells_run_in_the_suites_order_and_leave_records(self, suite: Any, tmp_path: Path) -> None:
        execute = Executor()
        result = bench(suite("vary: {method: [lora, head, bitfit]}"), tmp_path / "out", execute=execute)
        assert execute.calls == ["lora", "head", "bitfit"]
        assert [record.recipe["method"]["name"] for record in result.records.values()] == execute.calls
        assert not result.failed
        for name, record in result.records.items():
            assert Record.load(tmp_path / "out" / "cells" / name) == record

    def test_cells_may_be_given(self, suite: Any, tmp_path: Path) -> None:
        cells = load_suite(suite("vary: {method: [lora, head]}"))
        assert list(bench(cells[1:], tmp_path / "out", execute=Executor()).records) == [cells[1].name]

    def test_what_is_done_is_not_done_again(self, suite: Any, tmp_path: Path) -> None:
        first = bench(suite("vary: {method: [lora, head]}"), tmp_path / "out", execute=Executor())
        execute = Executor()
        second = bench(suite("vary: {method: [lora, bitfit, head]}"), tmp_path / "out", execute=execute)
        assert execute.calls == ["bitfit"]
        assert {name: second.records[name] for name in first.records} == first.records

    def test_interrupted_cells_run_again_and_failed_ones_when_asked(self, suite: Any, tmp_path: Path) -> None:
        path, statuses = suite("vary: {method: [lora, head, bitfit, full]}"), {}
        statuses = {"lora": "interrupted", "head": "failed", "bitfit": "out-of-memory"}
        first = bench(path, tmp_path / "out", execute=Executor(**statuses))
        assert [name.partition("-")[0] for name in first.failed] == ["lora", "head", "bitfit"]
        again = Executor()
        second = bench(path, tmp_path / "out", execute=again)
        assert again.calls == ["lora"] and len(second.failed) == 2
        failed = Executor()
        assert not bench(path, tmp_path / "out", execute=failed, rerun_failed=True).failed
        assert failed.calls == ["head", "bitfit"]

    def test_a_cell_without_a_record_becomes_a_failed_row_and_the_rest_goes_on(
        self, suite: Any, tmp_path: Path
    ) -> None:
        done = Executor()

        def execute(cell: Cell, folder: Path, log: Path, watcher: Watcher) -> str | None:
            if cell.recipe.method.name != "lora":
                return done(cell, folder, log, watcher)
            (folder / "checkpoints").mkdir(parents=True)
            log.write_text("\n".join(f"line {number}" for number in range(100)) + "\n")
            return "killed by signal SIGKILL"

        result = bench(suite("vary: {method: [lora, head]}"), tmp_path / "out", execute=execute)
        failed, ok = result.records.values()
        assert (failed.status, ok.status) == ("failed", "ok")
        assert failed.error is not None
        assert failed.error.splitlines() == ["killed by signal SIGKILL", *(f"line {i}" for i in range(80, 100))]
        assert (failed.recipe["method"]["name"], failed.seconds) == ("lora", 0)
        assert "SIGKILL" in report(tmp_path / "out", "md")

    def test_a_cell_that_is_killed_does_not_keep_its_earlier_record(self, suite: Any, tmp_path: Path) -> None:
        path = suite("vary: {method: [lora]}")
        bench(path, tmp_path / "out", execute=Executor(lora="interrupted"))
        killed = bench(path, tmp_path / "out", execute=lambda *_: "killed by signal SIGKILL")
        assert [record.status for record in killed.records.values()] == ["failed"]

    def test_what_an_unfinished_run_left_does_not_stop_the_next(self, suite: Any, tmp_path: Path) -> None:
        """The power went off while the adapter was saved: files, and no record."""
        (cell,) = load_suite(suite("vary: {method: [lora]}"))
        folder = tmp_path / "out" / "cells" / cell.name
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        assert not bench([cell], tmp_path / "out", execute=Executor()).failed
        assert {file.name for file in folder.iterdir()} == {"record.json"}

    def test_an_out_of_memory_cell_is_a_row_of_the_report(self, suite: Any, tmp_path: Path) -> None:
        bench(suite("vary: {method: [lora, head]}"), tmp_path / "out", execute=Executor(lora="out-of-memory"))
        rows = json.loads(report(tmp_path / "out", "json"))["rows"]
        assert len(rows) == 2 and "out-of-memory" in json.dumps(rows[0])

    def test_an_output_that_is_no_folder_is_refused_before_anything_runs(self, suite: Any, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for output, told in (("file", "not a folder"), ("file/out", "cannot be written")):
            execute = Executor()
            with pytest.raises(UserError, match=told):
                bench(suite("vary: {method: [lora]}"), tmp_path / output, execute=execute)
            assert not execute.calls

    def test_the_watcher_sees_cells_begin_and_end(self, suite: Any, tmp_path: Path) -> None:
        seen: list[Any] = []

        class Seeing(BenchWatcher):
            def cell_started(self, cell: Cell, index: int, total: int) -> None:
                seen.append((cell.recipe.method.name, index, total))

            def cell_ended(self, cell: Cell, record: Record, done_before: bool) -> None:
                seen.append((record.status, done_before))

        path = suite("vary: {method: [lora, head]}")
        for _ in range(2):
            bench(path, tmp_path / "out", watcher=Seeing(), execute=Executor(head="failed"))
        once = [("lora", 1, 2), ("ok", False), ("head", 2, 2), ("failed", False)]
        assert seen[:4] == once
        assert seen[4:] == [("lora", 1, 2), ("ok", True), ("head", 2, 2), ("failed", True)]


class TestCommand:
    """``peftkit bench`` says whether any cell failed."""

    @pytest.mark.parametrize("statuses, code", [({}, 0), ({"head": "failed"}, 1), ({"lora": "out-of-memory"}, 1)])
    @pytest.mark.parametrize("as_json", [True, False])
    def test_the_exit_code_says_whether_any_failed(
        self,
        statuses: dict[str, str],
        code: int,
        as_json: bool,
        suite: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from tests.test_cli import call

        monkeypatch.setattr("peftkit.suites.bench", functools.partial(bench, execute=Executor(**statuses)))
        flags = ["--json"] if as_json else []
        path = suite("vary: {method: [lora, head, bitfit]}")
        ended = call("bench", path, "--output", tmp_path / "out", *flags)
        assert ended.code == code
        if as_json:
            assert len(json.loads(ended.out)["rows"]) == 3
        else:
            assert f"peftkit report {tmp_path / 'out'}" in ended.out.replace("\n", "")
        for method in ("lora", "head", "bitfit"):
            assert method in ended.err  # a line for each cell as it ends, also where nobody looks

    def test_ctrl_c_ends_with_130(self, suite: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from tests.test_cli import call

        def interrupted(*_: Any) -> str | None:
            raise KeyboardInterrupt

        monkeypatch.setattr("peftkit.suites.bench", functools.partial(bench, execute=interrupted))
        ended = call("bench", suite("vary: {method: [lora]}"), "--output", tmp_path / "out")
        assert (ended.code, ended.out, ended.err) == (130, "", "peftkit: interrupted\n")


class Meddling(BenchWatcher):
    """Counts events; at the second step of a cell does to the cell's process, or to the bench, what it is told to."""

    def __init__(self, **deeds: Callable[[], None]) -> None:
        self.deeds, self.cell = deeds, ""
        self.events: dict[str, list[str]] = {}

    def cell_started(self, cell: Cell, index: int, total: int) -> None:
        self.cell = cell.recipe.method.name
        self.events[self.cell] = []

    def phase_started(self, phase: str) -> None:
        self.events[self.cell].append(phase)

    def training_started(self, total_steps: int) -> None:
        self.events[self.cell].append(f"{total_steps} steps")

    def stepped(self, step: Step) -> None:
        self.events[self.cell].append(f"step {step.number}")
        if step.number == 2 and self.cell in self.deeds:
            self.deeds[self.cell]()


def kill_the_cell() -> None:
    (process,) = multiprocessing.active_children()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_cells_in_processes_of_their_own_end_well_are_killed_are_interrupted_and_continue(
    toys: Any, toy_data: Path, tmp_path: Path
) -> None:
    """A bench over real cells: one ends well, one is wrong, one is killed, and Ctrl-C is pressed in the last."""
    base = {
        "model": str(toys()),
        "task": "text-classification",
        "data": str(toy_data),
        "training": {"max_steps": 150, "batch_size": 8, "max_length": 32, "eval_strategy": "no"},
    }
    path, out = tmp_path / "suite.yaml", tmp_path / "out"
    wrong = {"name": "lora", "target_modules": ["nothing"]}
    methods = ["head", wrong, "bitfit", "bottleneck"]
    path.write_text(json.dumps({"base": base, "vary": {"method": methods}}))  # JSON is YAML

    first = Meddling(bitfit=kill_the_cell, bottleneck=lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        bench(path, out, watcher=first)
    head, lora, bitfit, bottleneck = (Record.load(out / "cells" / cell.name) for cell in load_suite(path))
    assert head.status == "ok"
    assert head.phases["import"] < 1 or start_method() == "spawn"  # the server had done it
    assert first.events["head"][:4] == ["import", "tokenize", "load", "train"]
    assert [event for event in first.events["head"] if "step" in event] == ["150 steps"] + [
        f"step {number}" for number in range(1, 151)
    ]
    assert (lora.status, bitfit.status, bottleneck.status) == ("failed", "failed", "interrupted")
    assert lora.error is not None and "'nothing' matches no module" in lora.error
    assert bitfit.error is not None and bitfit.error.startswith("killed by signal SIGKILL")
    assert multiprocessing.active_children() == []

    second = Meddling()
    result = bench(path, out, watcher=second)
    assert [name for name, events in second.events.items() if events] == ["bottleneck"]
    assert [record.status for record in result.records.values()] == ["ok", "failed", "failed", "ok"]

    third = Meddling()
    result = bench(path, out, watcher=third, rerun_failed=True)
    assert [name for name, events in third.events.items() if "step 150" in events] == ["bitfit"]
    assert [record.status for record in result.records.values()] == ["ok", "failed", "ok", "ok"]
    assert result.records[next(iter(result.records))] == head
