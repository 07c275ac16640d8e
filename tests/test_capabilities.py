"""The capability table: read without torch, refuses what was proved not to work, and says what is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from peftkit.capabilities import BITS, MODES, WORKS, Case, Entry, Matrix, Outcome, Table, capabilities, setting_aside
from peftkit.capabilities.matrix import count
from peftkit.capabilities.table import STAGES, parse
from peftkit.errors import RecipeErrors
from peftkit.methods import METHODS
from peftkit.proving import ENTRIES, PAIRS, cells, draw, drift, prove
from peftkit.proving.grid import NEEDED
from peftkit.recipe import architecture
from tests.test_cli import well

SAMPLE = 12
FAILS = Outcome("training", "RuntimeError: shapes")


def entry(title: str, settings: dict[str, Any], failing: dict[tuple[str, str, str, str], Outcome]) -> Entry:
    """An entry on two architectures of one task, in which what is not `failing` works."""
    made = Entry(title, settings)
    for kind in ("bert", "gpt2"):
        pair = (kind, "text-classification")
        made.runs[pair] = {(b, m): failing.get((*pair, b, m), WORKS) for b in BITS for m in MODES}
        made.merges[pair] = {b: WORKS for b in BITS if made.runs[pair][b, "plain"].works}
    return made


@pytest.fixture
def table() -> Table:
    everywhere = {(k, "text-classification", "8bit", m): FAILS for k in ("bert", "gpt2") for m in MODES}
    return Table(
        {"peft": "0"},
        [
            entry("lora", {"name": "lora"}, {}),
            entry("lora dora", {"name": "lora", "use_dora": True}, everywhere),
            entry("ia3", {"name": "ia3"}, {("bert", "text-classification", "none", "bfloat16"): FAILS}),
            entry("oft", {"name": "oft"}, {("gpt2", "text-classification", b, m): FAILS for b in BITS for m in MODES}),
        ],
    )


def objection(table: Table, method: str | dict[str, Any], *case: Any) -> tuple[str, str] | None:
    settings = {"name": method} if isinstance(method, str) else method
    made = METHODS[settings["name"]].settings_class(**settings)
    architecture_, *rest = case
    return table.objection(made, Case(architecture_, "text-classification", *rest))


class TestTable:
    """What it says of a recipe."""

    def test_it_reads_back_as_it_was_written(self, table: Table) -> None:
        assert parse(table.dump()) == table
        assert json.loads(table.dump())

    def test_what_works_meets_no_objection(self, table: Table) -> None:
        assert objection(table, "lora", "bert", "4bit") is None
        assert objection(table, "oft", "bert") is None

    def test_the_most_telling_entry_is_the_one(self, table: Table) -> None:
        blamed, told = objection(table, {"name": "lora", "use_dora": True}, "bert", "8bit") or ("", "")
        assert blamed == "bits"
        assert told == (
            "lora dora for text-classification on a bert model in 8 bits does not work: training fails (RuntimeError: "
            "shapes); use quantization: none or 4bit, or one of lora, ia3, oft"
        )

    def test_the_mode_is_to_blame_where_it_works_without(self, table: Table) -> None:
        blamed, told = objection(table, "ia3", "bert", "none", ("gradient_checkpointing", "bfloat16")) or ("", "")
        assert blamed == "bfloat16"
        assert "with bfloat16" in told and "use the same without bfloat16" in told

    def test_the_method_is_to_blame_where_no_bits_help(self, table: Table) -> None:
        blamed, told = objection(table, "oft", "gpt2", "4bit") or ("", "")
        assert blamed == "method"
        assert "quantization" not in told and told.endswith("use one of lora, ia3")

    def test_an_architecture_that_was_not_tried_is_refused_what_failed_everywhere(self, table: Table) -> None:
        assert objection(table, {"name": "lora", "use_dora": True}, None, "8bit")
        assert objection(table, {"name": "lora", "use_dora": True}, "mamba", "8bit")
        assert objection(table, "oft", "mamba") is None

    def test_targets_given_by_hand_are_not_in_the_table(self, table: Table) -> None:
        assert objection(table, {"name": "oft", "target_modules": ["c_fc"]}, "gpt2") is None

    def test_it_can_be_set_aside(self, table: Table) -> None:
        with setting_aside():
            assert objection(table, "oft", "gpt2") is None
        assert objection(table, "oft", "gpt2")

    def test_a_method_that_speaks_for_itself_is_not_repeated(self, table: Table) -> None:
        table.entries.append(
            entry("vera", {"name": "vera"}, {("bert", "text-classification", "8bit", "plain"): Outcome("rule", "no")})
        )
        assert objection(table, "vera", "bert", "8bit") is None

    def test_the_matrix_sums_up(self, table: Table) -> None:
        rows = {row[0]: row[1:] for row in Matrix.overview(table).rows}
        assert rows["method"] == ["bert", "gpt2", "gradient_checkpointing", "bfloat16", "merge"]
        assert rows["lora dora"] == ["+-+", "+-+", "+", "+", "+"]
        assert rows["ia3"] == ["+++", "+++", "+", "~", "+"]
        assert rows["oft"] == ["+++", "---", "+", "+", "+"]
        detail = Matrix.detail(table.entries[2])
        assert detail.rows[1] == ["bert", "text-classification", "++-", "+++", "+++", "+++"]
        assert detail.notes == ["1 x training fails: RuntimeError: shapes"]


class TestFile:
    """The package's own table."""

    def test_everything_is_in_it(self) -> None:
        proved = {found.title: found for found in capabilities().entries}
        assert list(proved) == list(ENTRIES)
        for title, found in proved.items():
            assert found.settings == ENTRIES[title]
            assert list(found.runs) == list(PAIRS)
        assert sum(count(capabilities()).values()) == len(ENTRIES) * len(PAIRS) * len(BITS) * len(MODES)
        assert {name for name in METHODS if name != "peft"} == {found["name"] for found in ENTRIES.values()}

    def test_every_reason_is_a_line_without_a_path(self) -> None:
        outcomes = {
            outcome for found in capabilities().entries for run in found.runs.values() for outcome in run.values()
        }
        for outcome in outcomes - {WORKS}:
            assert outcome.stage in STAGES and outcome.told and "\n" not in outcome.told and "/tmp" not in outcome.told

    def test_a_sample_proved_again_ends_as_it_says(self) -> None:
        drifted = list(drift(prove(draw(SAMPLE, seed=0)), capabilities()))
        assert not drifted, "\n".join(drifted)

    def test_what_is_refused_late_does_not_exist(self, recipe_of: Any) -> None:
        """Whatever failed when it was tried is refused as a recipe: nothing is left to fail later."""
        for found in capabilities().entries:
            name = found.settings["name"]
            method = METHODS[name].settings_class(**found.settings, **NEEDED.get(name, {}))
            for (kind, task), run in found.runs.items():
                for (bits, mode), outcome in run.items():
                    refused = capabilities().objection(method, Case(kind, task, bits, (mode,)))
                    assert (refused is None) == (outcome.works or outcome.stage == "rule"), (found.title, kind, task)

    @pytest.mark.parametrize(
        "title, kind, task, bits, works",
        [
            ("lora dora", "bert", "text-classification", "8bit", False),
            ("lora dora", "bert", "text-classification", "4bit", True),
            ("lora pissa", "llama", "text-generation", "8bit", False),
            ("lora pissa", "llama", "text-generation", "4bit", False),
            ("lora olora", "gpt2", "text-generation", "none", False),
            ("lora", "gpt2", "text-generation", "4bit", True),
            ("oft", "gpt2", "text-generation", "none", False),
            ("boft", "gpt2", "text-classification", "none", False),
            ("prefix-tuning", "deberta-v2", "text-classification", "none", False),
            ("gralora", "gpt2", "text-generation", "none", True),
            ("adalora", "t5", "text2text-generation", "8bit", True),
            ("bottleneck", "vit", "image-classification", "4bit", True),
        ],
    )
    def test_it_agrees_with_what_is_known_of_the_libraries(
        self, title: str, kind: str, task: str, bits: str, works: bool
    ) -> None:
        """Found with peft 0.21 and bitsandbytes 0.50 by other hands, on other toys."""
        (found,) = [found for found in capabilities().entries if found.title == title]
        assert found.runs[kind, task][bits, "plain"].works == works


class TestRecipes:
    """A recipe is held to the table."""

    def test_an_impossible_one_is_refused_with_the_nearest_that_works(self, recipe_of: Any) -> None:
        with pytest.raises(RecipeErrors) as refused:
            recipe_of("oft", "gpt2")
        (line,) = refused.value.lines
        assert line.startswith("method: oft for text-classification on a gpt2 model does not work: refused when")
        assert "use quantization: 8bit or 4bit, or one of bitfit, lora, " in line and line.endswith(" more")

    def test_in_milliseconds_and_without_torch(self, toys: Any, toy_data: Path) -> None:
        script = """
import sys, time
from peftkit.errors import RecipeErrors
from peftkit.recipe import check
data = {"model": sys.argv[1], "method": "oft", "task": "text-classification", "data": sys.argv[2]}
check({**data, "method": "lora"}, {})
began = time.perf_counter()
try:
    check(data, {})
except RecipeErrors as error:
    print(f"{time.perf_counter() - began:.4f}", "torch" in sys.modules, error)
"""
        arguments = [sys.executable, "-c", script, str(toys("gpt2")), str(toy_data)]
        seconds, torch, told = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split(
            " ", 2
        )
        assert float(seconds) < 0.1 and torch == "False"
        assert "oft for text-classification on a gpt2 model does not work" in told

    def test_a_base_on_the_hub_is_refused_once_its_config_is_known(
        self, recipe_of: Any, toys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peftkit import run
        from peftkit.errors import UserError

        recipe = recipe_of("oft", "bert")
        monkeypatch.setattr("peftkit.model.loading.locate", lambda name: str(toys("gpt2")))
        with pytest.raises(UserError, match="method: oft for text-classification on a gpt2 model does not work"):
            run(recipe)

    def test_the_architecture_is_read_from_a_folder_or_the_hubs_cache(
        self, toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert architecture(str(toys("gpt2")), None) == "gpt2"
        assert architecture("somebody/something", None) is None
        cache = tmp_path / "models--somebody--something"
        (cache / "refs").mkdir(parents=True)
        (cache / "refs" / "main").write_text("abc")
        (cache / "snapshots" / "abc").mkdir(parents=True)
        (cache / "snapshots" / "abc" / "config.json").write_text('{"model_type": "llama"}')
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        assert architecture("somebody/something", None) == "llama"
        assert architecture("somebody/something", "abc") == "llama"


class TestCommand:
    """peftkit methods."""

    def test_without_a_name_it_is_the_matrix(self) -> None:
        began = time.perf_counter()
        lines = well("methods").splitlines()
        assert time.perf_counter() - began < 10
        assert lines[0].split()[:3] == ["method", "bert", "roberta"]
        assert {line.split("  ")[0] for line in lines[1 : len(ENTRIES) + 1]} == set(ENTRIES)
        assert "combinations:" in lines[-2]

    def test_with_a_name_it_is_every_task_and_why_not(self) -> None:
        told = well("methods", "lora")
        assert "lora dora" in told and "refused when the method is attached: " in told

    def test_a_sample_is_held_to_the_table(self) -> None:
        assert "ia3" in well("methods", "ia3", "--probe", "--sample", "1")

    def test_a_drift_is_told(self, table: Table) -> None:
        cell = cells(["lora"], [("bert", "text-classification")])[0]
        found = {cell: (dict.fromkeys(MODES, WORKS), FAILS)}
        assert list(drift(found, table)) == [
            "lora, text-classification on bert, none, merging: works in the table, now training RuntimeError: shapes"
        ]
        assert list(drift({("vera", "bert", "text-classification", "none"): found[cell]}, table)) == [
            "vera, text-classification on bert, none: not in the table"
        ]


def test_reading_the_table_loads_no_library() -> None:
    script = (
        "import sys, peftkit.capabilities as c; c.capabilities(); print('torch' in sys.modules, 'peft' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert ended.stdout.split() == ["False", "False"]
