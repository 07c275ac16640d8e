"""The capability table: method × architecture × task × bits × mode → what came of it, and the file it lies in."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from peftkit.contracts import MethodSettings

FILE = Path(__file__).parent / "capabilities.json"
BITS = ("none", "8bit", "4bit")
"""Quantizations of the base, in the file's order."""
MODES = ("plain", "gradient_checkpointing", "bfloat16")
"""Ways to train, in the file's order; in bfloat16 are the base's weights, and what autocast computes."""
ACCELERATOR = Path("/proc/driver/nvidia/version")
"""There where a CUDA device is: what its kernels refuse on a CPU says nothing there."""
NAMED = 5
"""Methods that an objection names, variants of the one that was asked for first, then in the table's order, the
commonest first; ``peftkit methods`` shows all."""
LAST = ("full", "head")
"""Named when nothing else is left: who asks for an adapter wants neither."""
TARGETED_BY_HAND = ("target_modules", "target_parameters", "exclude_modules", "layers_to_transform", "layers_pattern")
"""Settings that choose other layers than those that were proved."""


class Outcome(NamedTuple):
    """How a combination ended: in which stage, and what was told; see `STAGES`."""

    stage: str
    told: str = ""

    @property
    def works(self) -> bool:
        """Whether it trained, was saved, and loaded again gave the same logits."""
        return self.stage == "works"

    @property
    def holds_here(self) -> bool:
        """Whether it says something of this machine: what the CPU's kernels refuse is no word on an accelerator."""
        return not ("CPU" in self.told and ACCELERATOR.exists())


WORKS = Outcome("works")
STAGES = {
    "rule": "a recipe is refused, by what its method says of itself",
    "loading": "refused once the model is looked at",
    "attaching": "refused when the method is attached",
    "training": "training fails",
    "check": "trains, but a check of the run finds it wrong",
    "saving": "cannot be saved and loaded again",
    "merging": "cannot be merged",
}
"""Where what does not work ends, in the order of a run. All but the first are known only by trying."""


@dataclass(frozen=True)
class Case:
    """One combination: what a recipe is to the table."""

    architecture: str | None
    """transformers' ``model_type``; None where it is not known yet."""
    task: str
    bits: str = "none"
    modes: tuple[str, ...] = ("plain",)


@dataclass
class Entry:
    """A method with some of its settings, and what came of it by ``(architecture, task)``."""

    title: str
    """What it is called in tables: the method's name, or the name of a variant of it."""
    settings: dict[str, Any]
    """What a recipe says under ``method``; what is not said is at its default."""
    runs: dict[tuple[str, str], dict[tuple[str, str], Outcome]] = field(default_factory=dict)
    """Outcomes by (bits, mode) by (architecture, task)."""
    merges: dict[tuple[str, str], dict[str, Outcome]] = field(default_factory=dict)
    """Outcomes of merging what ran plainly, by bits by (architecture, task)."""

    def fits(self, settings: MethodSettings) -> bool:
        """Whether a recipe's method settings are this entry's, and no targets of its own are given."""
        given = settings.model_dump(exclude_defaults=True)
        return all(getattr(settings, key, None) == value for key, value in self.settings.items()) and not any(
            key in given and key not in self.settings for key in TARGETED_BY_HAND
        )

    def outcomes(self, case: Case) -> list[Outcome]:
        """What came of `case`; where its architecture is not in the table, what came of all of several, or nothing."""
        if (case.architecture, case.task) in self.runs:
            run = self.runs[str(case.architecture), case.task]
            return [run[case.bits, mode] for mode in case.modes]
        others = [run for (_, task), run in self.runs.items() if task == case.task]
        found = []
        for mode in case.modes:
            alike = [run[case.bits, mode] for run in others]
            if len(alike) > 1 and not any(outcome.works for outcome in alike):
                found.append(alike[0])
        return found

    def works(self, case: Case) -> bool:
        """Whether `case` was proved to work, on its architecture, or on any where that is not in the table."""
        if (case.architecture, case.task) in self.runs:
            return all(outcome.works for outcome in self.outcomes(case))
        return not self.outcomes(case) and any(task == case.task for _, task in self.runs)


@dataclass
class Table:
    """All entries, and the versions of the libraries that they were proved with."""

    versions: dict[str, str]
    entries: list[Entry]

    def entry(self, settings: MethodSettings) -> Entry | None:
        """The entry that says most about a recipe's method settings."""
        fitting = [entry for entry in self.entries if entry.fits(settings)]
        return max(fitting, key=lambda entry: len(entry.settings), default=None)

    def objection(self, settings: MethodSettings, case: Case) -> tuple[str, str] | None:
        """What `case` cannot be because of, ``method``, ``bits`` or a mode, and why with the nearest that works.

        None where it works, where nothing like it was proved, and inside `setting_aside`.
        """
        entry = None if _aside.get() else self.entry(settings)
        if entry is None:
            return None
        failed = [outcome for outcome in entry.outcomes(case) if not outcome.works and outcome.holds_here]
        if not failed or failed[0].stage == "rule":  # its method says so by itself
            return None
        blamed = self._blamed(entry, case)
        told = f"{entry.title} {_where(case, blamed)} does not work: {_told(failed[0])}"
        return blamed, f"{told}; {self._nearest(entry, case, blamed)}"

    def _blamed(self, entry: Entry, case: Case) -> str:
        """What to change: a mode, if it works without; the bits, if it works unquantized; else the method."""
        for mode in case.modes:
            others = tuple(other for other in case.modes if other != mode) or ("plain",)
            if mode != "plain" and entry.works(_with(case, modes=others)):
                return mode
        return "bits" if entry.works(_with(case, bits="none")) and case.bits != "none" else "method"

    def _nearest(self, entry: Entry, case: Case, blamed: str) -> str:
        """``use quantization none, or one of lora, ia3``."""
        bits = [other for other in BITS if other != case.bits and entry.works(_with(case, bits=other))]
        ways = [f"quantization: {' or '.join(bits)}"] if bits else []
        if blamed in MODES:
            ways = [f"the same without {blamed}", *ways]
        working = [other for other in self.entries if other is not entry and other.works(case)]
        working.sort(
            key=lambda other: (other.settings["name"] != entry.settings["name"], other.settings["name"] in LAST)
        )
        methods = [o.title for o in working if o.settings["name"] in (o.title, entry.settings["name"])]
        more = f" and {len(methods) - NAMED} more" if len(methods) > NAMED else ""
        ways += [f"one of {', '.join(methods[:NAMED])}{more}"] if methods else []
        return f"use {', or '.join(ways)}" if ways else "no method here was proved to do it"

    def dump(self) -> str:
        """The file's text: outcomes once each and by their number, a line for every entry, architecture and task."""
        outcomes = [WORKS]

        def number(outcome: Outcome) -> int:
            if outcome not in outcomes:
                outcomes.append(outcome)
            return outcomes.index(outcome)

        blocks = []
        for entry in self.entries:
            lines = []
            for (architecture, task), run in entry.runs.items():
                cells = [[number(run[bits, mode]) for mode in MODES] for bits in BITS]
                merges = entry.merges.get((architecture, task), {})
                merged = [number(merges[bits]) if bits in merges else None for bits in BITS]
                lines.append(f"   {json.dumps([architecture, task, cells, merged])}")
            head = f'  {{"title": {json.dumps(entry.title)}, "settings": {json.dumps(entry.settings)}, "proved": ['
            blocks.append("\n".join([head, ",\n".join(lines), "  ]}"]))
        told = ",\n".join(f"  {json.dumps(list(outcome), ensure_ascii=False)}" for outcome in outcomes)
        versions = json.dumps(self.versions)
        return (
            f'{{\n "versions": {versions},\n "outcomes": [\n{told}\n ],\n "entries": [\n'
            + ",\n".join(blocks)
            + "\n ]\n}\n"
        )


def parse(text: str) -> Table:
    """What `Table.dump` wrote."""
    data = json.loads(text)
    outcomes = [Outcome(*outcome) for outcome in data["outcomes"]]
    entries = []
    for made in data["entries"]:
        entry = Entry(made["title"], made["settings"])
        for architecture, task, cells, merged in made["proved"]:
            entry.runs[architecture, task] = dict(_cells(cells, outcomes))
            entry.merges[architecture, task] = {
                bits: outcomes[number] for bits, number in zip(BITS, merged, strict=True) if number is not None
            }
        entries.append(entry)
    return Table(data["versions"], entries)


@functools.cache
def capabilities() -> Table:
    """The table of the package's own file."""
    return parse(FILE.read_text(encoding="utf-8")) if FILE.is_file() else Table({}, [])


_aside: ContextVar[bool] = ContextVar("capabilities set aside", default=False)


@contextmanager
def setting_aside() -> Iterator[None]:
    """Recipes inside are not held to the table: to prove what stands in it."""
    token = _aside.set(True)
    try:
        yield
    finally:
        _aside.reset(token)


def _cells(cells: Sequence[Sequence[int]], outcomes: Sequence[Outcome]) -> Iterator[tuple[tuple[str, str], Outcome]]:
    for bits, row in zip(BITS, cells, strict=True):
        for mode, number in zip(MODES, row, strict=True):
            yield (bits, mode), outcomes[number]


def _with(case: Case, bits: str | None = None, modes: tuple[str, ...] | None = None) -> Case:
    return Case(case.architecture, case.task, bits or case.bits, modes or case.modes)


def _where(case: Case, blamed: str) -> str:
    """``for text-classification on a bert model in 4 bits with gradient_checkpointing``."""
    model = f"a {case.architecture} model" if case.architecture else "any base that was tried"
    bits = "" if case.bits == "none" else f" in {case.bits.removesuffix('bit')} bits"
    modes = [mode for mode in case.modes if mode != "plain" and blamed == mode]
    return f"for {case.task} on {model}{bits}{' with ' + modes[0] if modes else ''}"


def _told(outcome: Outcome) -> str:
    return f"{STAGES[outcome.stage]} ({outcome.told})"
