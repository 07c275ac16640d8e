"""A report is a pure function of records: what it shows is what they say, in every format."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from peftkit.errors import UserError
from peftkit.record import Record
from peftkit.reports import FORMATS, compare, print_table, report
from peftkit.reports.columns import COLUMNS, MISSING, Column, Scale, duration, percent, rate, size

START = datetime(2026, 1, 1, tzinfo=UTC)
COSTS = {
    "trainable_parameters": 81428,
    "trainable_share": 0.003572,
    "adapter_bytes": 329240,
    "peak_memory_bytes": 1_021_000_000,
    "samples_per_second": 55.789,
    "tokens_per_second": 1242.977,
    "train_seconds": 72.14,
    "memory": {"method": "kernel high-water mark"},
}
SCORES = {"accuracy": 0.7, "macro_f1": 0.65, "weighted_f1": 0.61, "loss": 1.5}
READ = ["81,428", "0.36 %", "329 kB", "1.02 GB", "55.8", "1,243", "72.1 s", "0.700", "0.650"]
"""How people read the numbers above, in the order of the columns."""
VERSIONS = {"torch": "2.13.0", "peft": "0.21.2"}


def record(
    method: str | dict[str, Any] = "lora",
    *,
    seed: int = 0,
    minute: int = 0,
    scores: dict[str, float] | None = None,
    costs: dict[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """A record as a run writes it; `changes` are recipe groups, or fields of the record."""
    recipe: dict[str, Any] = {
        "model": {"name": "org/small"},
        "method": {"name": method} if isinstance(method, str) else method,
        "task": {"name": "text-classification"},
        "data": {"source": "builtin:toy"},
        **({"seed": seed} if seed else {}),
        **{key: changes.pop(key) for key in ("model", "quantization", "data", "training") if key in changes},
    }
    fields: dict[str, Any] = {
        "status": "ok",
        "started": START + timedelta(minutes=minute),
        "seconds": 80.0,
        "recipe": recipe,
        "recipe_hash": "0" * 16,
        "environment": {"versions": VERSIONS, "hardware": {"device": "cpu"}},
        "resolved": {"max_length": 64},
        "data": {"train": {"rows": 1200, "fingerprint": "aa"}, "test": {"rows": 100, "fingerprint": "bb"}},
        "costs": COSTS if costs is None else costs,
        "scores": SCORES if scores is None else scores,
        "scored_split": "test",
    }
    return Record(**{**fields, **changes})


def broken(status: str, error: str, **settings: Any) -> Record:
    """A run that did not end well, with costs seen so far and no scores."""
    return record(status=status, error=error, scores={}, **settings)


def same_but(name: str, **part: Any) -> dict[str, Any]:
    """An environment that differs from the usual one in `part` of its `name`."""
    usual = record().environment
    return {**usual, name: {**usual[name], **part}}


def titles(*records: Record) -> list[str]:
    return [row.title for row in compare(records).rows]


def cells(text: str) -> list[list[str]]:
    """The cells of a Markdown table, header first, without the marks of the best."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and ":---" not in line]
    return [[cell.strip().replace("**", "") for cell in line.strip("|").split(" | ")] for line in lines]


# --- Rows ------------------------------------------------------------------------------------------------------------


def test_runs_that_differ_in_their_seed_alone_are_one_row_with_mean_and_sample_deviation() -> None:
    # By hand: mean of 0.6, 0.7, 0.8 is 0.7; squares of the distances sum to 0.02; over n - 1 = 2: 0.01; its root: 0.1.
    runs = [record(seed=seed, scores={"accuracy": 0.6 + seed / 10}) for seed in range(3)]
    comparison = compare(runs)
    (row,) = comparison.rows
    accuracy = comparison.columns["accuracy"]
    assert row.mean(accuracy) == pytest.approx(0.7)
    assert row.deviation(accuracy) == pytest.approx(0.1)
    assert row.text(accuracy) == "0.700 ± 0.100"
    assert "3 seeds" in comparison.caption and "sample standard deviation" in comparison.caption


def test_one_run_has_no_deviation() -> None:
    comparison = compare([record()])
    assert all(comparison.rows[0].deviation(column) is None for column in comparison.columns.values())
    assert "±" not in report([record()], "md")


def test_what_the_recipe_fixes_shows_a_deviation_only_where_seeds_differ() -> None:
    (row,) = compare([record(), record(seed=1)]).rows
    assert row.text(COLUMNS["trainable_parameters"]) == "81,428"
    assert row.text(COLUMNS["samples_per_second"]) == "55.8 ± 0.0"


@pytest.mark.parametrize("group", ["data", "training", "quantization"])
def test_a_recipe_that_differs_in_more_than_its_seed_is_another_row(group: str) -> None:
    other = {
        "data": {"source": "builtin:toy", "split_seed": 1},
        "training": {"epochs": 1.0},
        "quantization": {"bits": 4},
    }
    assert len(compare([record(), record(seed=1, **{group: other[group]})]).rows) == 2


@pytest.mark.parametrize("cost", COLUMNS)
@pytest.mark.parametrize("state", ["absent", "null"])
def test_a_missing_cost_is_missing_and_nothing_else(cost: str, state: str) -> None:
    costs = {name: value for name, value in COSTS.items() if name != cost} | ({cost: None} if state == "null" else {})
    runs = [record(costs=costs)]
    shown = dict(zip(*cells(report(runs, "md")), strict=True))
    assert shown.pop(COLUMNS[cost].header) == MISSING
    assert MISSING not in shown.values()
    (line,) = csv.DictReader(StringIO(report(runs, "csv")))
    assert line[f"{cost}_mean"] == ""
    assert json.loads(report(runs, "json"))["rows"][0]["columns"][cost]["mean"] is None


def test_rows_that_did_not_end_well_stay_with_their_status_and_error() -> None:
    runs = [
        record("head"),
        record("lora"),
        broken("failed", "RuntimeError: no luck\nTraceback: long", seed=1),
        broken("out-of-memory", "CUDA out of memory", method="full"),
        broken("interrupted", "", method="bitfit"),
    ]
    comparison = compare(runs)
    found = {row.title: row.status for row in comparison.rows}
    assert found == {"head": "ok", "lora": "1 of 2 ok", "full": "out-of-memory", "bitfit": "interrupted"}
    assert comparison.rows[2].text(COLUMNS["trainable_parameters"]) == MISSING  # only finished runs have numbers
    for name in FORMATS:
        text = report(runs, name)
        assert all(word in text for word in ("1 of 2 ok", "failed: RuntimeError: no luck", "CUDA out of memory")), name
        assert "Traceback" not in text, name


def test_the_status_column_is_left_out_where_all_went_well_except_in_data() -> None:
    assert "status" not in cells(report([record()], "md"))[0]
    assert "status" in next(csv.reader(StringIO(report([record()], "csv"))))


# --- Titles ----------------------------------------------------------------------------------------------------------


def test_titles_say_what_tells_rows_apart() -> None:
    assert titles(record(), record({"name": "bottleneck", "variant": "houlsby"}), record(quantization={"bits": 4})) == [
        "lora",
        "bottleneck houlsby",
        "lora, 4bit",
    ]
    fast, slow = ({"learning_rate": rate} for rate in (0.001, 0.0001))
    assert titles(record(training=fast), record(training=slow), record(), record("head")) == [
        "lora, training.learning_rate=0.001",
        "lora, training.learning_rate=0.0001",
        "lora",
        "head",
    ]


def test_titles_name_model_and_data_where_they_differ() -> None:
    assert titles(record(), record("head", model={"name": "org/large"})) == ["lora, small", "head, large"]
    assert titles(record(), record(model={"name": "peer/small"})) == ["lora, org/small", "lora, peer/small"]
    assert titles(record(), record(data={"source": ["a.csv", "b.csv"]}))[1] == 'lora, ["a.csv", "b.csv"]'


def test_rows_keep_the_order_of_their_first_run(tmp_path: Path) -> None:
    for minute, method in enumerate(("lora", "head", "bitfit")):
        folder = tmp_path / f"{method}-cell"
        folder.mkdir()
        record(method, minute=minute).save(folder)
    assert [line[0] for line in cells(report(tmp_path, "md"))] == ["method", "lora", "head", "bitfit"]


# --- The best --------------------------------------------------------------------------------------------------------


def test_the_best_score_is_bold_where_it_is_the_only_one() -> None:
    good, bad = {"accuracy": 0.8, "macro_f1": 0.5}, {"accuracy": 0.7, "macro_f1": 0.5001}
    text = report([record("lora", scores=good), record("head", scores=bad)], "md")
    assert re.findall(r"\*\*(.*?)\*\*", text) == ["0.800"]  # 0.500 and 0.500 read the same
    assert "<strong>0.800</strong>" in report([record("lora", scores=good), record("head", scores=bad)], "html")
    assert "**" not in report([record()], "md")


def test_scores_on_other_rows_are_not_set_against_each_other() -> None:
    best = {"accuracy": 0.8}
    data = {"source": "other.csv"}
    assert "**" not in report([record(), record("head", scores=best, data=data)], "md")
    fewer = {"source": "builtin:toy", "max_train_samples": 10}
    assert "**0.800**" in report([record(), record(scores=best, data=fewer)], "md")


# --- Formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["table", "md", "html"])
def test_people_read_the_same_numbers_in_every_format(name: str) -> None:
    text = report([record()], name, width=200)
    text = re.sub(r"<[^>]*>|\|", "  ", text.partition("<tbody>")[2] or text)
    line = next(line for line in text.splitlines() if line.strip().startswith("lora"))
    assert re.split(r"\s{2,}", line.strip()) == ["lora", *READ]


@pytest.mark.parametrize(
    "scale, number, read",
    [
        (size, 999, "999 B"),
        (size, 999_600, "1.00 MB"),
        (size, 9.9e12, "9.90 TB"),
        (percent, 0.00004, "0.0040 %"),
        (percent, 0.0165, "1.65 %"),
        (percent, 1, "100 %"),
        (rate, 9.996, "10.0"),
        (rate, 0.0312, "0.0312"),
        (rate, 12345.6, "12,346"),
        (duration, 859, "14.3 min"),
        (duration, 10080, "2.8 h"),
    ],
)
def test_numbers_are_written_for_people(scale: Scale, number: float, read: str) -> None:
    assert Column("", "", scale, lambda _: None).text(number) == read


def test_csv_and_json_carry_the_numbers_of_the_record_unrounded() -> None:
    runs = [record(), record(seed=1), broken("failed", "no luck", seed=2)]
    (line,) = csv.DictReader(StringIO(report(runs, "csv")))
    (row,) = json.loads(report(runs, "json"))["rows"]
    for name, value in {**COSTS, **SCORES}.items():
        if name == "memory":
            continue
        assert float(line[f"{name}_mean"]) == value
        assert row["columns"][name] == {"mean": value, "std": 0.0, "n": 2, "values": [value, value, None]}
    assert (line["ok"], line["failed"], line["seeds"]) == ("2", "1", "0 1 2")
    assert [(run["seed"], run["status"]) for run in row["runs"]] == [(0, "ok"), (1, "ok"), (2, "failed")]


def test_people_see_the_first_two_scores_and_data_has_all() -> None:
    assert cells(report([record()], "md"))[0][-2:] == ["accuracy", "macro_f1"]
    assert {"weighted_f1_mean", "loss_mean"} <= set(next(csv.reader(StringIO(report([record()], "csv")))))


def test_a_score_that_is_no_number_is_told_and_keeps_json_valid() -> None:
    runs = [record(scores={"accuracy": float("nan")}), record(seed=1)]
    assert "nan" in cells(report(runs, "md"))[1]
    assert json.loads(report(runs, "json"))["rows"][0]["columns"]["accuracy"]["values"] == [None, 0.7]


def test_html_keeps_text_as_text_and_asks_for_nothing_else() -> None:
    evil = "<script>alert(1)</script>"
    page = report(
        [record({"name": "lora", "bias": evil}), broken("failed", evil, model={"name": evil})],
        "html",
    )
    assert evil not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1  # our own
    assert not re.search(r"(src|href)\s*=|https?://|@import|url\(", page)


def test_markdown_and_terminal_keep_text_as_text() -> None:
    runs = [broken("failed", "[bold]a|b[/bold] \x1b[31m<b>", method={"name": "lora", "bias": "a|b"})]
    assert all(len(line) == len(cells(report(runs, "md"))[0]) for line in cells(report(runs, "md")))
    assert r"\[bold\]a\|b\[/bold\]" in report(runs, "md")
    assert "[bold]a|b[/bold]" in report(runs)
    assert all("\x1b" not in report(runs, name) for name in FORMATS)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_a_table_keeps_to_its_width_cuts_no_number_and_moves_what_does_not_fit_below(width: int) -> None:
    runs = [record({"name": "lora", "target_modules": "a" * 40}, seed=seed) for seed in range(2)]
    runs += [record("head"), broken("out-of-memory", "CUDA out of memory", method="full")]
    text = report(runs, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for column in compare(runs).shown.values():
        assert all(word in text for word in column.header.split()), column.header
    assert "accuracy" in text.partition("lora")[0]


def test_the_console_shows_the_best_in_bold() -> None:
    console = Console(file=StringIO(), width=160, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        print_table(console, [record(), record("head", scores={"accuracy": 0.9, "macro_f1": 0.1})])
    assert re.search(r"\x1b\[1m *0\.900", capture.get())


# --- Notes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"environment": same_but("versions", torch="2.12.0")}, "different stacks: torch 2.13.0, 2.12.0."),
        ({"environment": same_but("hardware", device="cuda")}, "different hardware: device cpu, cuda."),
        ({"data": {"test": {"rows": 100, "fingerprint": "cc"}}}, "different rows: test fingerprint bb, cc."),
        ({"recipe": record().recipe}, "lora ran seed 0 2 times."),
    ],
)
def test_every_format_says_what_makes_rows_less_comparable(changes: dict[str, Any], told: str) -> None:
    other = record(seed=1).model_copy(update=changes)
    for name in FORMATS:
        assert told in report([record(), other], name), name
        assert told not in report([record(), record(seed=1)], name), name


def test_rows_cut_to_another_length_are_not_taken_for_other_rows() -> None:
    shorter = record("prefix-tuning", resolved={"max_length": 44}).model_copy(
        update={"data": {"test": {"rows": 100, "fingerprint": "cc"}}}
    )
    assert compare([record(), shorter]).notes == ()


def test_the_caption_says_what_rows_share() -> None:
    caption = compare([record(), record("head", seed=1)]).caption
    for part in ("org/small on builtin:toy", "1,200 train rows", "100 test rows", "1 seed,", "scored on test"):
        assert part in caption
    assert "Peak memory: kernel high-water mark." in caption and "1 kB = 1,000 bytes" in caption


# --- Sources ---------------------------------------------------------------------------------------------------------


def test_a_report_is_rebuilt_from_a_folder_of_records(tmp_path: Path) -> None:
    runs = [record(seed=seed, minute=seed) for seed in range(2)] + [record("head", minute=3)]
    for index, run in enumerate(runs):
        (tmp_path / f"cell-{index}").mkdir()
        run.save(tmp_path / f"cell-{index}")
    for name in FORMATS:
        assert report(tmp_path, name) == report(str(tmp_path), name) == report(runs, name)
    assert report(tmp_path / "cell-2" / "record.json") == report(runs[2:])


def test_a_users_mistake_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"unknown format 'jsn', did you mean json\? \(allowed: csv, html, json, md, table\)"
    ):
        report([record()], "jsn")
    with pytest.raises(UserError, match="no records"):
        report([])
    with pytest.raises(UserError, match="no such folder"):
        report(tmp_path / "nowhere")


def test_a_report_loads_no_torch() -> None:
    code = "import sys, peftkit.reports; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'sklearn')))"
    subprocess.run([sys.executable, "-c", code], check=True)
