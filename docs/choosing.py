"""Parts of docs/methods.md: an overview with counts from attached models, and a section a method."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from described import KINDS, Description, described

from peftkit.contracts import Base, Method
from peftkit.methods import METHODS
from peftkit.probes.parameters import count

RANK = 8
"""The rank at which methods that have one are counted side by side."""
STEPS = 100
"""Optimizer steps that a schedule is told of; no count depends on it."""
UNTOLD = (
    "dropout",
    "seed",
    "prng_key",
    "asa_",
    "warmup",
    "mask_interval",
    "svd_",
    "cayley_",
    "neumann",
    "eps",
    "niter",
)
"""Parts of the names of settings that a short line of defaults leaves out."""


@dataclass(frozen=True)
class Counted:
    """What a method is on MiniLM's shape with its default settings: trained parameters, the head left out."""

    trained: int
    at_rank: int | None
    """The same with r = RANK; None where the method has no rank."""
    reach: dict[str, Any]


def choosing_parts() -> dict[str, str]:
    """What is made of docs/methods.md."""
    counts = counted()
    quantizable = ", ".join(f"`{name}`" for name, method, _ in _ordered() if method.quantizable and _named(method))
    return {
        "overview": overview(counts),
        "sections": "\n\n".join(sections(counts)),
        "quantizable": quantizable,
    }


def counted() -> dict[str, Counted]:
    """Every method that needs no more than its name, attached to a model of MiniLM's shape without weights."""
    logging.getLogger("peft").setLevel(logging.ERROR)
    base = Base(_minilm("meta"), ("classifier",), "SEQ_CLS")
    return {name: _count(method, base) for name, method in METHODS.items() if _named(method)}


def _count(method: type[Method], base: Base) -> Counted:
    trained, reach = _attached(method, base, {})
    ranked = "r" in method.settings_class.model_fields and "r" not in getattr(method, "instead", {})
    return Counted(trained, _attached(method, base, {"r": RANK})[0] if ranked else None, reach)


def _attached(method: type[Method], base: Base, settings: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Trained parameters outside the head, and what is reached."""
    bound = method(method.settings_class(**settings))
    try:
        model = _quietly(bound, replace(base, model=deepcopy(base.model)))
    except NotImplementedError:  # it looks at weights: random ones will do
        model = _quietly(bound, replace(base, model=_minilm("cpu")))
    head = sum(parameter.numel() for parameter in base.model.classifier.parameters())
    return count(model)[0] - head, bound.reach(model)


def _quietly(method: Method, base: Base) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method.attach(base, STEPS)


def _minilm(device: str) -> Any:
    """BERT of the shape of all-MiniLM-L6-v2, with a head of two classes."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    torch.manual_seed(0)
    with torch.device(device):
        return BertForSequenceClassification(BertConfig(**shape))


def _named(method: type[Method]) -> bool:
    """Whether its name is all that it needs to be told."""
    return not any(field.is_required() for field in method.settings_class.model_fields.values())


def overview(counts: dict[str, Counted]) -> str:
    """A line a method, by kind."""
    lines = [
        f"| method | kind | trained by default | at r = {RANK} | on 8/4 bits | merges | starts as the base | rate |",
        "| --- | --- | ---: | ---: | --- | --- | --- | ---: |",
    ]
    for name, method, told in _ordered():
        found = counts.get(name)
        trained = f"{found.trained:,}" if found else "–"
        at_rank = "–" if found is None or found.at_rank is None else f"{found.at_rank:,}"
        answers = (_yes(method.quantizable), _yes(method.mergeable), _yes(method.identity_at_start))
        cells = (f"[`{name}`](#{name})", told.parts["Kind"], trained, at_rank, *answers, f"{method.learning_rate:g}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def sections(counts: dict[str, Counted]) -> Iterator[str]:
    """A heading a kind, and a section for each of its methods."""
    shown = ""
    for name, method, told in _ordered():
        if told.parts["Kind"] != shown:
            shown = told.parts["Kind"]
            yield f"## {KINDS[shown]}"
        yield "\n".join(_section(name, method, told, counts.get(name)))


def _section(name: str, method: type[Method], told: Description, found: Counted | None) -> Iterator[str]:
    yield from (f"### `{name}`", "", told.idea, "")
    yield f"- **Formula:** {told.parts['Formula']}"
    yield f"- **Parameters:** {told.parts['Parameters']}"
    yield f"- **Use it** {told.parts['Use it']}"
    yield f"- **Not** {told.parts['Not']}"
    yield f"- **Learning rate:** `{method.learning_rate:g}`, {told.parts['Learning rate']}"
    usual = ", ".join(f"`{field}: {value}`" for field, value in _usual(method, found))
    yield f"- **Defaults:** {f'{usual}; ' if usual else ''}{told.parts['Defaults']}"
    if found and (layers := sorted({_without_number(layer) for layer in found.reach.get("targeted_modules", ())})):
        yield f"- **Reaches** in MiniLM: {', '.join(f'`{layer}`' for layer in layers)}"
    yield f"- **Paper:** {told.parts['Paper']}"
    yield f"- [All settings](recipes.md#{name})"
    for variant, said in told.variants.items():
        yield from ("", f"**{variant}:** {said}")


def _usual(method: type[Method], found: Counted | None) -> Iterator[tuple[str, Any]]:
    """The defaults that tell sizes and scales, and peftkit's own; sizes that the layers decide are MiniLM's."""
    own = getattr(method, "defaults", {})
    sizes = found.reach.get("sizes", {}) if found else {}
    for field, info in method.settings_class.model_fields.items():
        value = sizes.get(field, info.get_default())
        number = type(value) in (int, float) and value > 0 and not any(part in field for part in UNTOLD)
        if field in own or number:
            yield field, str(value).lower() if isinstance(value, bool) else value


def _ordered() -> list[tuple[str, type[Method], Description]]:
    """Methods by kind, and in the order of METHODS within one."""
    told = [(name, method, described(method)) for name, method in METHODS.items()]
    return sorted(told, key=lambda entry: list(KINDS).index(entry[2].parts["Kind"]))


def _without_number(layer: str) -> str:
    """``attention.self.query`` for ``bert.encoder.layer.3.attention.self.query``; the whole name without a number."""
    parts = layer.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbers[0] + 1 :] if numbers else parts)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
