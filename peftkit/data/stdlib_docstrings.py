"""The built-in data source `builtin:stdlib-docstrings`: to which standard-library module does a docstring belong?

Real English text that lies on every machine with a Python, so that a run needs no hub. Each row is the docstring of one
function, method or class, read with `ast` and never imported; its label is the top-level module. Nothing gives the
answer away: the label's own name is cut from the text, and no two rows share their words, so no text of one split
recurs in another or under a second label. The same Python gives the same rows, in the same order.
"""

import ast
import hashlib
import json
import os
import re
import sys
import sysconfig
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

Splits: TypeAlias = dict[str, list[dict[str, str]]]

CLASSES = 20
"""How many modules are kept: those with the most usable docstrings."""
CLASS_CAP = 150
"""Most rows of one module over all splits, so that the largest classes stay near the size of the smallest."""
MINIMUM_WORDS = 6
SHARES = {"train": 0.7, "validation": 0.1}
"""Share of each class's rows by split; what remains is `test`."""
SEED = 0
LEFT_OUT = {"test", "tests", "idlelib", "idle_test", "lib2to3", "site-packages", "dist-packages", "__pycache__"}

_DOTTED_NAME = re.compile(r"\w+(?:\.\w+)*")
_BLANK_LINE = re.compile(r"\n\s*\n")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def rows() -> Splits:
    """The rows of the running Python's standard library, `{"text": …, "label": …}` by split: train, validation, test.

    Reading a standard library takes seconds, so the rows are kept in the user's cache folder where that can be written.
    Raises FileNotFoundError if this Python carries no sources to read (an embedded or frozen one).
    """
    stdlib = Path(sysconfig.get_path("stdlib"))
    cache = _cache_file(stdlib)
    cached = _read_cache(cache)
    if cached is None:
        cached = build(stdlib)
        _write_cache(cache, cached)
    return cached


def build(stdlib: Path) -> Splits:
    """The rows of the standard library in the folder `stdlib`, read afresh. Raises FileNotFoundError if it has none."""
    splits: Splits = {"train": [], "validation": [], "test": []}
    for label, texts in _largest(_without_repeats(_texts_by_module(stdlib))).items():
        for split, part in _divide(sorted(texts, key=_draw)[:CLASS_CAP]).items():
            splits[split] += ({"text": text, "label": label} for text in part)
    if not splits["train"]:
        raise FileNotFoundError(f"{stdlib}: no docstrings of a Python standard library found in this folder")
    return {split: sorted(part, key=lambda row: _draw(row["text"])) for split, part in splits.items()}


def _texts_by_module(stdlib: Path) -> dict[str, list[str]]:
    texts = defaultdict(list)
    for label, file in _sources(stdlib):
        for docstring in _docstrings(file):
            text = _prepare(docstring, label)
            if _enough(text):
                texts[label].append(text)
    return texts


def _sources(stdlib: Path) -> Iterator[tuple[str, Path]]:
    """Top-level module and file, for every source file of a public module."""
    for folder, subfolders, files in os.walk(stdlib):
        subfolders[:] = (name for name in subfolders if name not in LEFT_OUT)
        for name in files:
            file = Path(folder, name)
            label = file.relative_to(stdlib).parts[0].removesuffix(".py")
            if name.endswith(".py") and label.isidentifier() and not label.startswith("_"):
                yield label, file


def _docstrings(file: Path) -> Iterator[str]:
    """The docstrings of all functions, methods and classes in the file; none if Python cannot parse it."""
    try:
        with warnings.catch_warnings(action="ignore"):  # a source may hold escapes that Python deprecates
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for definition in _definitions(tree.body):
        docstring = ast.get_docstring(definition)
        if docstring:
            yield docstring


def _definitions(body: list[ast.stmt]) -> Iterator[_Definition]:
    """Every definition below these statements. Unlike `ast.walk` it skips expressions, which hold none: 6 × faster."""
    for statement in body:
        if isinstance(statement, _Definition):
            yield statement
        for block in ("body", "orelse", "finalbody"):
            yield from _definitions(getattr(statement, block, []))
        for branch in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
            yield from _definitions(branch.body)


def _prepare(docstring: str, label: str) -> str:
    """The first paragraph without the label's name, on one line; the whole docstring where that is too short."""
    text = _without_name(docstring, label)
    paragraph = _one_line(_BLANK_LINE.split(text, maxsplit=1)[0])
    return paragraph if _enough(paragraph) else _one_line(text)


def _without_name(text: str, label: str) -> str:
    """Cuts each dotted name with the label in it: for `turtle` also `Turtle`, `turtles`, `_turtle`, `turtle.Pen`."""

    def cut(match: re.Match[str]) -> str:
        parts = match[0].casefold().replace("_", ".").split(".")
        joined = match[0].casefold().replace("_", "").split(".")
        return "" if {label, f"{label}s", label.replace("_", "")} & {*parts, *joined} else match[0]

    return _DOTTED_NAME.sub(cut, text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _enough(text: str) -> bool:
    return sum(any(map(str.isalnum, word)) for word in text.split()) >= MINIMUM_WORDS


def _without_repeats(texts_by_module: dict[str, list[str]]) -> dict[str, list[str]]:
    """One text for each wording (its words, whatever their case and punctuation); none if two modules share it."""
    wordings: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for label, texts in texts_by_module.items():
        for text in texts:
            wordings[" ".join(re.findall(r"\w+", text.casefold()))].add((label, text))
    unique = defaultdict(list)
    for found in wordings.values():
        if len({label for label, _ in found}) == 1:
            label, text = min(found)
            unique[label].append(text)
    return unique


def _largest(texts_by_module: dict[str, list[str]]) -> dict[str, list[str]]:
    labels = sorted(texts_by_module, key=lambda label: (-len(texts_by_module[label]), label))
    return {label: texts_by_module[label] for label in labels[:CLASSES]}


def _draw(text: str) -> bytes:
    """A sort key that shuffles: it hangs on the seed and the text alone, not on the order in which files were found."""
    return hashlib.sha256(f"{SEED}\n{text}".encode("utf-8", "surrogatepass")).digest()


def _divide(texts: list[str]) -> dict[str, list[str]]:
    train = round(SHARES["train"] * len(texts))
    validation = train + round(SHARES["validation"] * len(texts))
    return {"train": texts[:train], "validation": texts[train:validation], "test": texts[validation:]}


def _cache_file(stdlib: Path) -> Path | None:
    """Where the rows of this Python, as this very code reads them, are kept; None if there is no such place."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "peftkit")
        code = Path(__file__).read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: this user has no home folder
        return None
    key = hashlib.sha256(f"{sys.version}\n{stdlib}\n".encode() + code).hexdigest()[:16]
    return folder / f"stdlib-docstrings-{key}.json"


def _read_cache(file: Path | None) -> Splits | None:
    try:
        splits: Splits | None = json.loads(file.read_text(encoding="utf-8")) if file else None
    except (OSError, ValueError):
        return None
    return splits


def _write_cache(file: Path | None, splits: Splits) -> None:
    """Writes beside the file and moves it there, so that processes that start together never read half of it."""
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            fresh = Path(folder, file.name)
            fresh.write_text(json.dumps(splits), encoding="utf-8")
            fresh.replace(file)
    except OSError:
        return
