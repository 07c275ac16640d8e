"""The commands. What they need is imported when they run: `--help` answers without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peftkit.cli import sharing, tables
from peftkit.cli.methods import methods
from peftkit.cli.shelf import AsJson, Overrides, RecipeName, lines_of_input, print_json, recipes

if TYPE_CHECKING:
    from peftkit.record import Record

app = typer.Typer(
    name="peftkit",
    help="Fine-tune with parameter-efficient methods, and compare them: a recipe goes in, a record comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(recipes, name="recipes")
tables.add_to(app)
app.command()(methods)
sharing.add_to(app)

UNWRAPPED = 10_000
"""Columns of an output that is a file or a pipe."""
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")]


def _print_table(records: Path | Sequence[Record]) -> None:
    """Fitted to the terminal; in one piece where the output is read by no one's terminal."""
    from rich.console import Console

    from peftkit.reports import print_table

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNWRAPPED  # rich would take 80 columns there, and split the table to fit them
    print_table(console, records)


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


@app.command()
def train(
    recipe: RecipeName,
    output: Output,
    overrides: Overrides = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a finished run in the output folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train and score one recipe."""
    from peftkit.cli.progress import run_progress
    from peftkit.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    with run_progress(shown=_is_main_process()) as watcher:
        from peftkit.pipeline import run

        record = run(loaded, output, overwrite=overwrite, watchers=[watcher])
    if not _is_main_process():
        return
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        _print_table([record])
        print(f"adapter, record and predictions: {output}")


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run's output folder; or a recipe, for its base.", metavar="RUN")],
    overrides: Overrides = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test; by default what a run scores.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a trained run again, also on other data (data.source=…); or a recipe's base before any training."""
    from peftkit.recipe import load_recipe
    from peftkit.trained import load, untrained

    is_run = Path(run).is_dir() or ("/" in run and not Path(run).suffix)
    model = load(run, overrides or ()) if is_run else untrained(load_recipe(run, overrides or ()))
    result = model.evaluate(split)
    if not _is_main_process():
        return
    if as_json:
        counts = {"split": result.split, "rows": len(result.references)}
        print_json({**counts, "scores": result.scores, "detail": result.detail})
        return
    print(f"{result.split}: {len(result.references)} rows")
    for name, value in result.scores.items():
        print(f"  {name:24} {value:.4f}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="The output folder of a run, or an adapter's folder.", metavar="RUN")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; lines of standard input by default.")] = None,
    adapter: Annotated[list[Path] | None, typer.Option(help="Another run on the same base; may be repeated.")] = None,
) -> None:
    """Read texts, write one JSON line a prediction; with --adapter one for every text and adapter."""
    from peftkit.trained import load

    if adapter:
        sharing.predict_with_each([run, *adapter], texts)
        return
    model = load(run)
    lines = texts or lines_of_input()
    predictions = model.predict(lines)
    if not _is_main_process():
        return
    for line, prediction in zip(lines, predictions, strict=True):
        print(json.dumps({"input": line, **prediction}, ensure_ascii=False))


@app.command()
def bench(
    suite: Annotated[str, typer.Argument(help="A suite's path, shipped name, or package:name.", metavar="SUITE")],
    output: Output,
    overrides: Overrides = None,
    rerun_failed: Annotated[bool, typer.Option(help="Run failed cells again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run every cell of a suite that has no record yet, and print the table."""
    from peftkit.cli.progress import run_progress
    from peftkit.reports import report
    from peftkit.suites import bench as run_bench

    with run_progress(shown=True) as watcher:
        result = run_bench(suite, output, overrides=overrides or (), rerun_failed=rerun_failed, watcher=watcher)
    records = list(result.records.values())
    if as_json:
        print(report(records, "json"), end="")
    else:
        _print_table(records)
        print(f"records: {output / 'cells'}    again at any time: peftkit report {output}")
    if result.failed:
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder with records anywhere below it.", metavar="DIR")],
    format: Annotated[str, typer.Option(help="table, md, csv, json or html.")] = "table",
    as_json: AsJson = False,
) -> None:
    """Set the records below a folder side by side."""
    from peftkit.reports import report as render

    if as_json or format != "table":
        print(render(folder, "json" if as_json else format), end="")
    else:
        _print_table(folder)


@app.command()
def check(
    recipe: RecipeName,
    overrides: Overrides = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name all targets and all that is trained.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a recipe would do, or all that is wrong with it, without training."""
    from peftkit.recipe import load_recipe
    from peftkit.rehearsal import rehearse

    found = rehearse(load_recipe(recipe, overrides or ()))
    if as_json:
        print_json(found)
        return
    rows = ", ".join(_rows_in_short(split, part) for split, part in found["data"].items())
    trainable, total = found["trainable_parameters"], found["total_parameters"]
    print(f"recipe {found['recipe_hash']} is fine")
    print(f"  rows        {rows}")
    print(f"  steps       {found['optimizer_steps']:,} of {found['effective_batch_size']} rows at most")
    print(f"  parameters  {trainable:,} of {total:,} trained ({trainable / total:.2%})")
    print(f"  new head    {', '.join(found['head']) or 'none'}")
    print(f"  adapter in  {_in_short(found['method'].get('targeted_modules', []))}")
    limit = f", rows cut to {found['max_length']} tokens" if found["max_length"] else ""
    print(f"  rate        {found['learning_rate']:g} at its peak{limit}")
    if verbose:
        _print_targets(found["method"])
        print("  trained")
        for name in found["trained"]:
            print(f"    {name}")


@app.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from peftkit.recipe import schema as recipe_schema

    print_json(recipe_schema())


def _rows_in_short(split: str, part: dict[str, Any]) -> str:
    """``train 2,000 (31 cut, 2 dropped)``, and in how many examples they go through the model where that differs."""
    notes = [f"{part['examples']:,} examples"] if part["examples"] != part["rows"] else []
    notes += [f"{part['rows_cut']:,} cut"] if part["rows_cut"] else []
    notes += [f"{dropped:,} dropped"] if (dropped := sum(part["rows_dropped"].values())) else []
    told = f" ({', '.join(notes)})" if notes else ""
    return f"{split} {part['rows']:,}{told}"


def _print_targets(reach: dict[str, Any]) -> None:
    """Who chose the targets, what each pattern reached, and the shares of the base that they are."""
    if not reach.get("targeted_modules"):
        return
    linear, parameters = reach["targeted_linear_share"], reach["targeted_parameter_share"]
    print(f"  coverage    {linear:.1%} of the linear layers, {parameters:.1%} of the base's parameters, head left out")
    print(f"  targets     by {reach['targets_by']}")
    for pattern, names in reach["targets_by_pattern"].items():
        print(f"    {pattern}: {', '.join(names)}")


def _in_short(names: list[str]) -> str:
    """``12 modules: query, value``."""
    ends = sorted({name.rsplit(".", 1)[-1] for name in names})
    return f"{len(names)} modules: {', '.join(ends)}" if names else "no layers"
