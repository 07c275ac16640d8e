import re
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from peftkit.data import stdlib_docstrings as source

SIX_WORDS = "Gives back one two three four"


@pytest.fixture(scope="module")
def splits() -> source.Splits:
    return source.build(Path(sysconfig.get_path("stdlib")))


@pytest.fixture
def rows(splits: source.Splits) -> list[dict[str, str]]:
    return [row for part in splits.values() for row in part]


def library(folder: Path, **docstrings: list[str]) -> Path:
    """A toy standard library: one module for each keyword, one function for each docstring."""
    folder.mkdir()
    for module, texts in docstrings.items():
        functions = (f"def f{number}():\n    {text!r}\n" for number, text in enumerate(texts))
        (folder / f"{module}.py").write_text("\n".join(functions))
    return folder


def texts(splits: source.Splits) -> list[str]:
    return sorted(row["text"] for part in splits.values() for row in part)


def test_the_real_library_gives_enough_to_learn_from(splits, rows):
    assert list(splits) == ["train", "validation", "test"]
    assert all(set(row) == {"text", "label"} for row in rows)
    assert 15 <= len({row["label"] for row in rows}) <= source.CLASSES
    assert len(rows) >= 1000


def test_every_text_is_one_line_of_at_least_six_words(rows):
    assert all(len(row["text"].split()) >= 6 for row in rows)
    assert all(row["text"] == " ".join(row["text"].split()) for row in rows)


def test_no_text_names_its_label(rows):
    leaks = [row for row in rows if re.search(rf"(?<![^\W_]){row['label']}s?(?![^\W_])", row["text"], re.IGNORECASE)]
    assert leaks == []


def test_no_wording_occurs_twice_in_any_split_or_under_any_label(rows):
    wordings = [tuple(re.findall(r"\w+", row["text"].casefold())) for row in rows]
    assert len(set(wordings)) == len(wordings)


def test_no_class_exceeds_the_cap_and_every_split_holds_every_class_in_its_share(splits, rows):
    sizes = Counter(row["label"] for row in rows)
    assert max(sizes.values()) <= source.CLASS_CAP
    for split, share in {"train": 0.7, "validation": 0.1, "test": 0.2}.items():
        found = Counter(row["label"] for row in splits[split])
        assert all(abs(found[label] - share * size) <= 1 for label, size in sizes.items())


def test_rows_do_not_depend_on_the_order_in_which_files_are_found(tmp_path, monkeypatch):
    names = [f"module{letter}" for letter in "abcdefgh"]
    stdlib = library(tmp_path / "lib", **{name: [f"{SIX_WORDS} {name * 2} {i}" for i in range(30)] for name in names})
    forwards = source.build(stdlib)
    walk = source.os.walk

    def backwards(top):
        return ((folder, folders[::-1], sorted(files, reverse=True)) for folder, folders, files in walk(top))

    monkeypatch.setattr(source.os, "walk", lambda top: ((a, b, sorted(c)) for a, b, c in walk(top)))
    assert source.build(stdlib) == forwards
    monkeypatch.setattr(source.os, "walk", backwards)
    assert source.build(stdlib) == forwards


def test_repeats_are_kept_once_and_dropped_where_two_modules_share_them(tmp_path):
    shared, repeated = f"{SIX_WORDS} shared.", f"{SIX_WORDS} repeated."
    stdlib = library(tmp_path / "lib", alpha=[shared, repeated, repeated.upper()], beta=[shared.replace(".", "!")])
    assert texts(source.build(stdlib)) == [repeated.upper()]


@pytest.mark.parametrize("name", ["Turtle", "turtles", "_turtle", "turtle.Pen", "x.turtle_graphics", "TURTLE's"])
def test_the_label_is_cut_in_every_variant(tmp_path, name):
    stdlib = library(tmp_path / "lib", turtle=[f"{SIX_WORDS} ({name}) turtledove"])
    assert re.fullmatch(rf"{SIX_WORDS} \((?:'s)?\) turtledove", *texts(source.build(stdlib)))


def test_a_text_is_its_first_paragraph_unless_that_is_short_without_the_label(tmp_path):
    long, short = f"{SIX_WORDS} long.\n\nAnd more.", "Calls lib lib lib lib lib.\n\nGives  back one two\nthree."
    stdlib = library(tmp_path / "lib", lib=[long, short, "Too short: lib lib lib lib lib."])
    assert texts(source.build(stdlib)) == ["Calls . Gives back one two three.", f"{SIX_WORDS} long."]


def test_tests_private_modules_and_unreadable_files_are_left_out(tmp_path):
    stdlib = library(tmp_path / "lib", good=[SIX_WORDS], _private=[f"{SIX_WORDS} private"])
    library(stdlib / "tests", case=[f"{SIX_WORDS} case"])
    (stdlib / "bad.py").write_text(f'def f(:\n    "{SIX_WORDS} bad"\n')
    names = {row["label"] for part in source.build(stdlib).values() for row in part}
    assert names == {"good"}


def test_a_python_without_sources_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no docstrings"):
        source.build(tmp_path)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> source.Splits:
    """Lets a toy library be that of the running Python, with an empty cache; the rows it must give."""
    stdlib = library(tmp_path / "lib", toy=[f"{SIX_WORDS} {number}" for number in range(10)])
    monkeypatch.setattr(source.sysconfig, "get_path", lambda name: str(stdlib))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return source.build(stdlib)


def test_rows_come_from_the_cache_the_second_time(toy, tmp_path, monkeypatch):
    assert source.rows() == toy
    assert len(list((tmp_path / "cache" / "peftkit").iterdir())) == 1
    monkeypatch.setattr(source, "build", lambda stdlib: pytest.fail("read afresh"))
    assert source.rows() == toy


@pytest.mark.parametrize("content", ["", "{", "\xff"])
def test_a_broken_cache_is_replaced(toy, tmp_path, content):
    source.rows()
    (file,) = (tmp_path / "cache" / "peftkit").iterdir()
    whole = file.read_bytes()
    file.write_text(content, encoding="latin-1")
    assert source.rows() == toy
    assert file.read_bytes() == whole


def test_a_cache_folder_that_cannot_be_written_is_done_without(toy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert source.rows() == toy
