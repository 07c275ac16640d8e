"""Metrics of the `evaluate` library, named ``evaluate:MODULE`` or ``evaluate:MODULE#KEY``.

MODULE is a name on the hub (``evaluate:mcc``), or a folder or .py file here; its code is run. KEY chooses among the
numbers that it gives; without one, the one named like the module, else the first. Higher is taken to be better. A
module gets no options: where it needs one (an average), write it into a module of your own.
https://huggingface.co/docs/evaluate
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any

from peftkit.contracts import Metric, Prediction
from peftkit.errors import UserError, unknown

PREFIX = "evaluate:"
FIELDS = ("label", "labels", "value", "tags", "answer", "text")
"""What such a metric can read of a prediction: the first that is there."""


def through_evaluate(name: str) -> Metric:
    """The metric of that name, ``evaluate:`` included; its module is loaded when it is first computed."""

    def compute(predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
        return _compute(name, predictions, references)

    return Metric(compute, "higher", f"the evaluate library's {name.removeprefix(PREFIX)}", FIELDS)


def load(name: str) -> None:
    """Loads the module of the metric of that name; raises UserError where there is none."""
    _module(name, several=False)


@lru_cache
def _module(name: str, several: bool) -> Any:
    """The evaluate module; for several labels a row in the configuration that the library's own modules have then."""
    import evaluate

    place = _place(name)
    try:
        return evaluate.load(place, "multilabel" if several else None, keep_in_memory=True)
    except (FileNotFoundError, ConnectionError) as error:
        if Path(place).exists():
            raise UserError(_told(name, error)) from error
        raise UserError(
            f"{name}: no such file or folder here, and the hub has no metric of that name or cannot be reached"
        ) from error
    except Exception as error:  # whatever the module's own code raises
        raise UserError(_told(name, error)) from error


def _place(name: str) -> str:
    return name.removeprefix(PREFIX).partition("#")[0]


def _told(name: str, error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{name}: {lines[0] if lines else type(error).__name__}"


def _compute(name: str, predictions: Sequence[Prediction], references: Sequence[Any]) -> float:
    field = next((field for field in FIELDS if field in predictions[0]), None)
    if field is None:
        raise UserError(f"{name}: reads one of {', '.join(FIELDS)}, and the task's predictions have none of them")
    module = _module(name, several=field == "labels")
    features = module.features[0] if isinstance(module.features, list) else module.features
    given = [prediction[field] for prediction in predictions]
    try:
        wanted = _references(field, references, features["references"])
        if field != "value" and _whole_numbers(features["predictions"]):
            given, wanted = _numbered(field, given, wanted)
        scores = module.compute(predictions=given, references=wanted)
    except Exception as error:  # whatever the module's own code raises
        raise UserError(_told(name, error)) from error
    return _chosen(name, scores)


def _references(field: str, references: Sequence[Any], feature: Any) -> list[Any]:
    """References in the module's shape: all acceptable texts where it takes a list, else the first."""
    if field not in ("answer", "text"):
        return list(references)
    texts = [row["texts"] if field == "text" else row for row in references]
    return texts if _inner(feature) is not None else [row[0] if row else "" for row in texts]


def _inner(feature: Any) -> Any:
    """What a list feature is a list of, else None."""
    from datasets import LargeList, List

    if isinstance(feature, list):
        return feature[0]
    return feature.feature if isinstance(feature, List | LargeList) else None


def _whole_numbers(feature: Any) -> bool:
    from datasets import Value

    inner = _inner(feature)
    if inner is not None:
        return _whole_numbers(inner)
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "uint"))


def _numbered(field: str, given: list[Any], wanted: list[Any]) -> tuple[list[Any], list[Any]]:
    """Names as numbers, by their alphabetical order over both sides; several labels a row as a 0 or 1 for each."""
    several = field in ("labels", "tags")
    names = sorted({name for side in (given, wanted) for row in side for name in (row if several else [row])})
    number = {name: place for place, name in enumerate(names)}
    row_of: Callable[[Any], Any] = {
        "labels": lambda row: [int(name in row) for name in names],
        "tags": lambda row: [number[name] for name in row],
    }.get(field, number.__getitem__)
    return [row_of(row) for row in given], [row_of(row) for row in wanted]


def _chosen(name: str, scores: Any) -> float:
    """The number of the result that the name asks for."""
    numbers = {key: float(value) for key, value in (scores or {}).items() if isinstance(value, Real)}
    key = name.partition("#")[2]
    if key and key not in numbers:
        raise UserError(f"{name}: {unknown('score', key, numbers)}")
    if not numbers:
        raise UserError(f"{name}: the module gives no number")
    return numbers[key or next((own for own in numbers if own == Path(_place(name)).stem), next(iter(numbers)))]
