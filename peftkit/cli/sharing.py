"""What becomes of a run after training: the merge, export, card and push commands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from peftkit.cli.shelf import AsJson, Overrides, lines_of_input, print_json

Run = Annotated[Path, typer.Argument(help="A run's output folder.", metavar="RUN")]
Output = Annotated[Path, typer.Option("--output", "-o", help="New folder to write into.")]


def merge(run: Run, output: Output, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Fold what was trained into the base: an ordinary transformers model, its scores before and after."""
    from peftkit.interop import merge as merge_run

    report = merge_run(run, output, overrides or ())
    if as_json:
        print_json(report)
        return
    base = report["base"]
    quantized = f", {base['bits']}bit" if base["bits"] else ""
    print(f"merged into {base['merged_into']}: {base['name']} ({base['dtype']}{quantized})")
    if base["bits"] == 8:
        print("  an 8-bit base rounds activations too, which the merged model does not: logits differ by that")
    _print_comparison(report)
    print(f"model and report: {output}")


def export(
    run: Run,
    output: Output,
    overrides: Overrides = None,
    lora: Annotated[bool, typer.Option("--lora", help="As a plain LoRA adapter.")] = False,
    rank: Annotated[float | None, typer.Option(help="Rank, or the share of each update to keep (0 to 1).")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's adapter in another form, and say what the conversion costs."""
    from peftkit.errors import UserError
    from peftkit.interop import export_lora

    if not lora:
        raise UserError("say what to export as: --lora")
    report = export_lora(run, output, overrides or (), rank=rank)
    if as_json:
        print_json(report)
        return
    ranks = sorted(set(report["ranks"].values()))
    span = "no layers" if not ranks else f"rank {ranks[0]}" + (f" to {ranks[-1]}" if len(ranks) > 1 else "")
    print(f"{report['from']} as LoRA ({report['conversion']}, {span})")
    _print_comparison(report)
    print(f"adapter and report: {output}")


def card(
    run: Run, write: Annotated[bool, typer.Option("--write", help="Write README.md into the run's folder.")] = False
) -> None:
    """Print the run's model card, made from its record."""
    from peftkit.interop import card_of, write_card

    print(write_card(run) if write else card_of(run), end="\n" if write else "")


def push(
    run: Run,
    repo_id: Annotated[str, typer.Argument(help="OWNER/NAME on the hub.", metavar="REPO_ID")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
) -> None:
    """Upload a finished run to the hub, with its model card."""
    from peftkit.interop import push as push_run

    print(push_run(run, repo_id, private=private))


def predict_with_each(runs: list[Path], texts: list[str] | None) -> None:
    """One JSON line for every text and adapter, the base loaded once."""
    from peftkit.interop import Adapters

    adapters = Adapters(runs)
    lines = texts or lines_of_input()
    found = adapters.predict(lines)
    if os.environ.get("RANK", "0") != "0":
        return
    for number, line in enumerate(lines):
        for name, predictions in found.items():
            print(json.dumps({"input": line, "adapter": name, **predictions[number]}, ensure_ascii=False))


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this file to the command line."""
    for command in (merge, export, card, push):
        app.command()(command)


def _print_comparison(report: dict[str, Any]) -> None:
    """Scores before and after, and the largest logit difference."""
    print(f"  {report['split']}: {report['rows_scored']:,} rows")
    after = report["scores"]["after"]
    for name, value in report["scores"]["before"].items():
        print(f"  {name:24} {value:.4f} → {after[name]:.4f}")
    print(
        f"  largest logit difference {report['logit_difference']:.2g} over {report['examples_compared']} examples "
        f"(largest logit {report['largest_logit']:.3g}), {report['seconds']:.1f} s"
    )
