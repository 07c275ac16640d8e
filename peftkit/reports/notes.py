"""What stands under a report: what its rows have in common, and what makes them less comparable than they look."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from peftkit.record import Record
from peftkit.reports.titles import plain

HARDWARE = ("device", "device_name", "processor", "cores", "processes", "threads")
"""Of the environment's hardware, what changes speed and memory; the precision is the recipe's choice."""
MOST_NAMED = 3
"""More values than that are counted, not named."""


def caption(rows: Sequence[Sequence[Record]]) -> str:
    """Model, data, how many rows, seeds, scored split; what ± and peak memory mean. `rows` are the runs of each row."""
    records = [record for row in rows for record in row]
    models = _listed([record.recipe.get("model", {}).get("name") for record in records], "models")
    sources = _listed([record.recipe.get("data", {}).get("source") for record in records], "data sources")
    scored = _distinct(record.scored_split for record in records)
    facts = [f"{count} {split} rows" for split in ("train", *scored) if (count := _rows(records, split))]
    facts += [_seeds(rows), *([f"scored on {' and '.join(scored)}"] if scored else [])]
    sentences = [": ".join(filter(None, [" on ".join(filter(None, [models, sources])), ", ".join(facts)]))]
    if any(sum(record.status == "ok" for record in row) > 1 for row in rows):
        sentences.append("± is the sample standard deviation over a row's finished seeds")
    methods = _distinct(record.costs.get("memory", {}).get("method") for record in records)
    sentences += [f"Peak memory: {' / '.join(methods)}"] if methods else []
    sentences.append("Sizes in decimal units (1 kB = 1,000 bytes)")
    return ". ".join(sentences) + "."


def notes(rows: Sequence[tuple[str, Sequence[Record]]]) -> list[str]:
    """The lines for `rows`, each a title and its runs; none where nothing is amiss."""
    records = [record for _, runs in rows for record in runs]
    stack = _drift(dict(_stack(record)) for record in records)
    machine = _drift({key: hardware(record).get(key) for key in HARDWARE} for record in records)
    data = data_drift(records)
    lines = [f"Rows were made on different stacks: {stack}." if stack else ""]
    lines.append(f"Rows were made on different hardware: {machine}." if machine else "")
    lines.append(f"Rows asked for the same data and were given different rows: {data}." if data else "")
    for title, runs in rows:
        again = [f"seed {number} {count} times" for number, count in Counter(map(seed, runs)).items() if count > 1]
        lines.append(f"{title} ran {', '.join(again)}." if again else "")
    return [line for line in lines if line]


def seed(record: Record) -> int:
    """The seed of a run; a recipe that gives none has 0."""
    return int(record.recipe.get("seed", 0))


def hardware(record: Record) -> Mapping[str, Any]:
    """What the record says of the machine."""
    found: Mapping[str, Any] = record.environment.get("hardware", {})
    return found


def _stack(record: Record) -> Iterator[tuple[str, Any]]:
    """Versions by package; the commit too, since two states of a checkout carry one version."""
    yield "python", record.environment.get("python")
    for package, version in record.environment.get("versions", {}).items():
        yield package, version or "(not installed)"
    git = record.environment.get("git") or {}
    if git.get("commit"):
        yield "peftkit commit", git["commit"][:10] + (" with changes" if git.get("dirty") else "")


def data_drift(records: Sequence[Record]) -> str:
    """Fingerprints that differ between runs that asked for the same rows; else nothing.

    Compares fingerprints where they must agree: they are taken of encoded rows, so that tokenizer and length count.
    """
    alike: dict[str, list[Record]] = {}
    for record in records:
        asked = [record.recipe.get(group) for group in ("model", "task", "data")]
        length = record.resolved.get("max_length", record.recipe.get("training", {}).get("max_length"))
        alike.setdefault(json.dumps([*asked, length], sort_keys=True), []).append(record)
    found = (_drift(_fingerprints(record) for record in group) for group in alike.values())
    return "; ".join(dict.fromkeys(filter(None, found)))


def _fingerprints(record: Record) -> dict[str, Any]:
    return {f"{split} fingerprint": part.get("fingerprint") for split, part in record.data.items()}


def _drift(facts: Iterable[Mapping[str, Any]]) -> str:
    """``torch 2.12.0, 2.13.0; peft 0.20.0, 0.21.2``: what has several values, in order of appearance; else nothing."""
    seen: dict[str, list[Any]] = {}
    for fact in facts:
        for name, value in fact.items():
            seen.setdefault(name, []).append(value)
    values = {name: _distinct(found) for name, found in seen.items()}
    return "; ".join(f"{name} {', '.join(found)}" for name, found in values.items() if len(found) > 1)


def _distinct(values: Iterable[Any]) -> list[str]:
    """The values as text, each once, in order; None is no value."""
    return list(dict.fromkeys(plain(value) for value in values if value is not None))


def _listed(values: Iterable[Any], plural: str) -> str:
    found = _distinct(values)
    return ", ".join(found) if len(found) <= MOST_NAMED else f"{len(found)} {plural}"


def _seeds(rows: Sequence[Sequence[Record]]) -> str:
    """``3 seeds``, or ``1 to 3 seeds a row`` where rows have unlike many."""
    counts = sorted({len({seed(record) for record in row}) for row in rows})
    each = "" if len(counts) == 1 else f"{counts[0]} to "
    return f"{each}{counts[-1]} seed{'s' if counts[-1] > 1 else ''}{' a row' if each else ''}"


def _rows(records: Sequence[Record], split: str) -> str:
    """``9,003``, or ``200 to 9,003`` where records differ; the empty string where none says."""
    counts = [part["rows"] for record in records if (part := record.data.get(split)) and "rows" in part]
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)})) if counts else ""
