"""What can be trained how: the methods command, and the probe that finds it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from peftkit.cli.shelf import AsJson, print_json


def methods(
    name: Annotated[str | None, typer.Argument(help="One method in detail.", metavar="[METHOD]")] = None,
    as_json: AsJson = False,
    probe: Annotated[bool, typer.Option("--probe", help="Find out again what works, on toy models: an hour.")] = False,
    sample: Annotated[
        int | None, typer.Option(help="Probe so many combinations, and compare with the table.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the sample.")] = 0,
    processes: Annotated[int, typer.Option(help="Probe so many at a time.", min=1)] = 1,
    output: Annotated[Path | None, typer.Option(help="Where the table goes; its place in the package.")] = None,
) -> None:
    """Show which method works on which model, in how many bits, and how; with a name, its settings and every task."""
    from peftkit.errors import UserError, unknown
    from peftkit.methods import METHODS

    if name is not None and name not in METHODS:
        raise UserError(unknown("method", name, METHODS))
    if not probe and (sample or output or processes != 1 or seed):
        raise UserError("--sample, --seed, --processes and --output belong to --probe")
    if probe:
        _probe(name, sample, seed, processes, output)
    elif as_json:
        print_json({listed: _described(listed) for listed in ([name] if name else METHODS)})
    elif name:
        _show(name)
    else:
        from peftkit.capabilities import Matrix, capabilities

        print(Matrix.overview(capabilities()).text())


def _probe(name: str | None, sample: int | None, seed: int, processes: int, output: Path | None) -> None:
    """Proves all combinations of all methods or one and writes the table, or compares a sample with it."""
    from peftkit.capabilities import FILE, capabilities
    from peftkit.capabilities.matrix import count
    from peftkit.errors import PeftkitError
    from peftkit.proving import ENTRIES, cells, draw, drift, prove, proved
    from peftkit.writing import whole_file

    chosen = cells([title for title, settings in ENTRIES.items() if name in (None, settings["name"])])
    if sample is not None:
        chosen = draw(min(sample, len(chosen)), seed, chosen)
        if drifted := list(drift(prove(chosen, processes, _tell), capabilities())):
            raise PeftkitError("\n".join([*drifted, "the table is out of date: peftkit methods --probe"]))
        return
    file = output or FILE
    journal = file.with_suffix(".part.jsonl")
    table = proved(prove(chosen, processes, _tell, journal), capabilities())
    with whole_file(file) as temporary:
        temporary.write_text(table.dump(), encoding="utf-8")
    journal.unlink(missing_ok=True)
    print(", ".join(f"{number:,} {stage}" for stage, number in count(table).items()))


def _tell(cell: Any, found: Any) -> None:
    """A line a cell: what came of every mode, and of merging."""
    modes, merged = found
    words = [f"{mode} {' '.join(outcome).strip()}" for mode, outcome in modes.items()]
    print(*cell, "|", "; ".join([*words, f"merging {' '.join(merged).strip()}"] if merged else words), flush=True)


def _show(name: str) -> None:
    from peftkit.capabilities import Matrix, capabilities

    described = _described(name)
    bases = "any base" if described["quantized_base"] else "unquantized bases only"
    settings = ", ".join(f"{field}={value}" for field, value in described["settings"].items()) or "no settings"
    print(f"{name}  (learning rate {described['learning_rate']:g}, {bases})\n{described['about']}\n{settings}")
    for entry in capabilities().entries:
        if entry.settings["name"] == name:
            print(f"\n{entry.title}\n{Matrix.detail(entry).text()}")


def _described(name: str) -> dict[str, Any]:
    """A method as JSON data: what it is, its settings, and what works, by architecture, task, bits and mode."""
    from peftkit.capabilities import capabilities
    from peftkit.cli.tables import about, settings_of
    from peftkit.methods import METHODS

    method = METHODS[name]
    proved = {
        entry.title: {
            f"{architecture}, {task}": {
                **{f"{bits}, {mode}": " ".join(outcome).strip() for (bits, mode), outcome in run.items()},
                **{f"{bits}, merge": " ".join(o).strip() for bits, o in entry.merges[architecture, task].items()},
            }
            for (architecture, task), run in entry.runs.items()
        }
        for entry in capabilities().entries
        if entry.settings["name"] == name
    }
    return {
        "about": about(method),
        "learning_rate": method.learning_rate,
        "quantized_base": method.quantizable,
        "settings": settings_of(method.settings_class),
        "proved": proved,
    }
