"""The bridge to the evaluate library, on modules written here: nothing is fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from peftkit.errors import UserError
from peftkit.metrics import metric, prepare

MODULE = """
import datasets
import evaluate


class Own(evaluate.Metric):
    def _info(self):
        features = datasets.Features({{"predictions": {predictions}, "references": {references}}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        {body}
"""
TEXT, NUMBER, WHOLE = ("datasets.Value('string')", "datasets.Value('float64')", "datasets.Value('int32')")


def several(feature: str) -> str:
    return f"datasets.Sequence({feature})"


def write(folder: Path, name: str, predictions: str, references: str, body: str) -> str:
    """Writes the module and gives its metric's name."""
    (folder / name).mkdir()
    code = MODULE.format(predictions=predictions, references=references, body=body)
    (folder / name / f"{name}.py").write_text(code)
    return f"evaluate:{folder / name}"


# Gives back what it was given, as a number: the share of predictions that are, or are in, their reference.
SHARE = "return {'other': 7, 'note': 'x', NAME: sum(p == r or (isinstance(r, list) and p in r) for p, r in pairs) / 2}"


def share(name: str) -> str:
    return f"pairs = list(zip(predictions, references)); {SHARE.replace('NAME', repr(name))}"


@pytest.mark.parametrize(
    "name, predictions, references, given, right",
    [
        ("names", TEXT, TEXT, [{"label": "a"}, {"label": "b"}], ["a", "a"]),
        ("numbers", WHOLE, WHOLE, [{"label": "a"}, {"label": "b"}], ["a", "a"]),
        ("sets", several(TEXT), several(TEXT), [{"labels": ["a"]}, {"labels": []}], [["a"], ["b"]]),
        ("indicators", several(WHOLE), several(WHOLE), [{"labels": ["b", "a"]}, {"labels": []}], [["a", "b"], ["b"]]),
        ("values", NUMBER, NUMBER, [{"value": 1.5}, {"value": 2.0}], [1.5, 1.0]),
        ("tagged", several(TEXT), several(TEXT), [{"tags": ["O"]}, {"tags": ["O"]}], [["O"], ["B-X"]]),
        ("tag_numbers", several(WHOLE), several(WHOLE), [{"tags": ["O"]}, {"tags": ["O"]}], [["O"], ["B-X"]]),
        ("answered", TEXT, several(TEXT), [{"answer": "b"}, {"answer": "c"}], [["a", "b"], []]),
        ("first_answer", TEXT, TEXT, [{"answer": "a"}, {"answer": "x"}], [["a", "b"], []]),
        ("written", TEXT, several(TEXT), [{"text": "b"}, {"text": "c"}], [{"texts": ["a", "b"]}, {"texts": ["d"]}]),
        ("first_text", TEXT, TEXT, [{"text": "a"}, {"text": "b"}], [{"texts": ["a"]}, {"texts": ["a", "b"]}]),
    ],
)
def test_every_kind_of_prediction_reaches_the_module(
    tmp_path: Path, name: str, predictions: str, references: str, given: list[Any], right: list[Any]
) -> None:
    found = metric(write(tmp_path, name, predictions, references, share(name)))
    assert found.compute(given, right) == 0.5  # the number named like the module, not the first one
    assert found.direction == "higher" and {*given[0]} <= {*found.reads}


def test_names_are_numbered_over_both_sides(tmp_path: Path) -> None:
    # b and c are predicted, a and c are there: a, b, c = 0, 1, 2
    body = "return {'x': float(predictions == [1, 2] and references == [0, 2])}"
    name = write(tmp_path, "numbering", WHOLE, WHOLE, body)
    assert metric(name).compute([{"label": "b"}, {"label": "c"}], ["a", "c"]) == 1


def test_numbers_are_not_numbered(tmp_path: Path) -> None:
    name = write(tmp_path, "stars", WHOLE, WHOLE, "return {'x': sum(predictions) + sum(references)}")
    assert metric(name).compute([{"value": 10.0}, {"value": 20.0}], [30.0, 40.0]) == 100


def test_several_labels_a_row_choose_the_configuration_that_the_librarys_modules_have_for_them(tmp_path: Path) -> None:
    # https://huggingface.co/spaces/evaluate-metric/f1: Sequence features if self.config_name == "multilabel"
    feature = f"{several(WHOLE)} if self.config_name == 'multilabel' else {WHOLE}"
    name = write(tmp_path, "both", feature, feature, share("both"))
    assert metric(name).compute([{"labels": ["a"]}, {"labels": []}], [["a"], ["b"]]) == 0.5
    assert metric(name).compute([{"label": "a"}, {"label": "b"}], ["a", "a"]) == 0.5


def test_a_key_chooses_among_the_numbers(tmp_path: Path) -> None:
    name = write(tmp_path, "keys", TEXT, TEXT, "return {'first': 1, 'second': 2, 'note': 'x'}")
    given: tuple[Any, Any] = ([{"label": "a"}], ["a"])
    assert metric(name).compute(*given) == 1
    assert metric(f"{name}#second").compute(*given) == 2
    with pytest.raises(UserError, match=r"unknown score 'secnd', did you mean second\? \(allowed: first, second\)"):
        metric(f"{name}#secnd").compute(*given)


def test_a_module_may_be_given_as_its_file_and_used_again(tmp_path: Path) -> None:
    name = write(tmp_path, "file", TEXT, TEXT, "return {'rows': len(predictions)}")
    found = metric(f"{name}/file.py")
    assert [found.compute([{"label": "a"}] * rows, ["a"] * rows) for rows in (1, 3)] == [1, 3]


def test_a_module_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    failing = write(tmp_path, "failing", TEXT, TEXT, "raise ValueError('needs an average\\nand more')")
    with pytest.raises(UserError, match=r"^evaluate:.*failing: needs an average$"):
        metric(failing).compute([{"label": "a"}], ["a"])
    silent = write(tmp_path, "silent", TEXT, TEXT, "return {'note': 'x'}")
    with pytest.raises(UserError, match="silent: the module gives no number"):
        metric(silent).compute([{"label": "a"}], ["a"])
    with pytest.raises(UserError, match=r"reads one of label, labels, .* have none of them"):
        metric(silent).compute([{"log_likelihood": 0.0}], [None])


def test_a_broken_module_is_told_when_it_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import evaluate\nraise RuntimeError('no')\n")
    with pytest.raises(UserError, match=r"broken.py: no$"):
        prepare(f"evaluate:{tmp_path / 'broken.py'}")


@pytest.mark.parametrize("module", ["no_such_metric_of_peftkit", "nobody/no_such_metric", "/no/such/folder"])
def test_a_module_that_is_nowhere_is_told_in_one_line(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    expected = f"evaluate:{module}#f1: no such file or folder here, and the hub has no metric of that name or"
    with pytest.raises(UserError, match="^" + re.escape(expected)) as told:
        prepare(f"evaluate:{module}#f1")
    assert "\n" not in str(told.value)
