"""docs/methods.md is made of the methods' docstrings: each says all that it has to, and its counts are real."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peftkit.methods import METHODS
from peftkit.probes.parameters import count
from tests.test_methods import STEPS, build

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "methods.md").read_text(encoding="utf-8")
VARIANTS = {"lora": {"DoRA", "rsLoRA", "PiSSA", "OLoRA", "LoftQ", "EVA", "LoRA+", "LoRA-FA"}}
"""Variants that must have a paragraph, by method."""


def loaded(name: str) -> ModuleType:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


described = loaded("described").described


@pytest.mark.parametrize("name", METHODS)
def test_a_docstring_says_every_part_and_the_page_shows_it(name: str) -> None:
    told = described(METHODS[name])
    assert VARIANTS.get(name, set()) <= set(told.variants)
    section = PAGE.partition(f"\n### `{name}`\n")[2].partition("\n### ")[0]
    for label, said in told.parts.items():
        assert label == "Kind" or said in section, label
    assert told.idea in section
    assert len(re.findall(r"\.(?= [A-Z`*]|$)", told.idea)) <= 3, "an idea is told in two or three sentences"
    assert f"`{METHODS[name].learning_rate:g}`" in section
    assert all(said in section for said in told.variants.values())
    assert f"[`{name}`](#{name}) | {told.parts['Kind']} |" in PAGE


@pytest.mark.parametrize("name", METHODS)
def test_a_paper_has_authors_a_year_a_title_and_a_place(name: str) -> None:
    paper = described(METHODS[name]).parts["Paper"]
    if paper.startswith(("none;", "the tuner's own")):
        return
    assert re.search(r'\w+( et al\.| and \w+)? \d{4}, ".+"', paper)
    assert re.search(r"arXiv:\d{4}\.\d{5}|openreview \w+", paper)


@pytest.mark.parametrize(
    "gone", ["Kind", "Formula", "Parameters", "Paper", "Use it", "Not", "Defaults", "Learning rate"]
)
def test_a_part_that_is_missing_is_told(gone: str) -> None:
    lines = (METHODS["vera"].__doc__ or "").replace(f"    {gone}: ", "    ")
    with pytest.raises(ValueError, match=f"Broken: its docstring has an idea and then .*{gone}"):
        described(type("Broken", (), {"__doc__": lines}))
    odd = (METHODS["vera"].__doc__ or "").replace("Kind: low-rank", "Kind: odd")
    with pytest.raises(ValueError, match=r"its kind is one of baseline, .*; found odd"):
        described(type("Broken", (), {"__doc__": odd}))


WIDTH, LAYERS, INNER, NORMS = 32, 2, 64, 5
"""The toy BERT: hidden size, layers, feed-forward size, LayerNorms."""
TARGETS = ["query", "intermediate.dense"]
SHAPES = [(WIDTH, WIDTH), (INNER, WIDTH)] * LAYERS
"""``(out, in)`` of what TARGETS reach."""
SCOPES: dict[str, list[tuple[int, int]]] = {
    "a layer": SHAPES,
    "a kind of layer": SHAPES[:2],
    "a feed-forward layer": [],
    "a linear layer": ([(WIDTH, WIDTH)] * 4 + [(INNER, WIDTH), (WIDTH, INNER)]) * LAYERS + [(WIDTH, WIDTH)],
    "a LayerNorm": [(WIDTH, WIDTH)] * NORMS,
    "an adapter": [(WIDTH, WIDTH)] * LAYERS,
    "once": [(WIDTH, WIDTH)],
}
"""How often a formula counts in the toy: the words after it, and the ``(out, in)`` of each time."""
SETTINGS: dict[str, dict[str, Any]] = {
    "ia3": {"feedforward_modules": []},
    "vera": {"r": 6},
    "pvera": {"r": 6},
    "loha": {"r": 3},
    "lokr": {"r": 2},
    "lora": {"r": 3},
    "adalora": {"init_r": 5, "target_r": 2},
    "bottleneck": {"reduction_factor": 8},
    "oft": {"oft_block_size": 8},
    "boft": {"boft_block_size": 8, "boft_n_butterfly_factor": 1},
    "hra": {"r": 4},
    "fourierft": {"n_frequency": 50},
    "vblora": {"r": 2, "num_vectors": 9, "vector_length": 8},
    "randlora": {"r": 5},
    "c3a": {"block_size": 8},
    "shira": {"r": 3},
    "road": {"variant": "road_2"},
    "miss": {"r": 8},
    "prefix-tuning": {"num_virtual_tokens": 7},
    "prompt-tuning": {"num_virtual_tokens": 7},
    "p-tuning": {"num_virtual_tokens": 7, "encoder_hidden_size": 12},
    "trainable-tokens": {"token_indices": [3, 5, 8]},
    "adamss": {"r": 20, "num_subspaces": 4, "subspace_rank": 1},
    "deft": {"r": 3},
    "delora": {"r": 3},
    "frod": {"sparse_rate": 0.05},
    "glora": {"r": 3},
    "gralora": {"r": 6, "gralora_k": 2},
    "hira": {"r": 3},
    "osf": {"effective_rank": 10},
    "peanut": {"r": 3, "depth": 2},
    "psoft": {"r": 5},
    "supertuning": {"sparsity": 0.9},
    "tinylora": {"u": 11},
    "unilora": {"theta_d_length": 100},
    "waveft": {"n_frequency": 50},
}
"""Settings that are no defaults, so that a formula which forgets one is found out."""
UNCOUNTED = ("full", "head", "peft")
"""Methods whose line "Parameters" has no formula."""


def names_in(name: str, settings: dict[str, Any], out: int, in_: int) -> dict[str, Any]:
    """What the names in a formula are for a layer of ``(out, in)``."""
    small = {side: max(n for n in range(1, math.isqrt(side) + 1) if side % n == 0) for side in (out, in_)}
    return settings | {
        "out": out,
        "in_": in_,
        "hidden": WIDTH,
        "layers": LAYERS,
        "tokens": len(settings.get("token_indices") or ()),
        "b": WIDTH // int(settings.get("reduction_factor") or 1),
        "w": settings.get("encoder_hidden_size"),
        "v": int(str(settings.get("variant"))[-1]) if name == "road" else None,
        "l": small[out],
        "m": small[in_],
        "k": out // small[out],
        "n": in_ // small[in_],
        "min": min,
        "max": max,
        "floor": math.floor,
        "ceil": math.ceil,
    }


def formulas(told: str) -> Iterator[tuple[str, str]]:
    """Each formula of a line "Parameters" as Python, and the words after it."""
    scopes = "|".join(sorted(SCOPES, key=len, reverse=True))
    for formula, scope in re.findall(rf"`([^`]+)` ({scopes})", told):
        text = formula.replace("·", "*").replace("²", "**2").replace("≥", ">=")
        text = re.sub(r"\bin\b", "in_", text)
        for sign, function in (("⌊", "floor("), ("⌈", "ceil("), ("⌋", ")"), ("⌉", ")")):
            text = text.replace(sign, function)
        yield text, scope


@pytest.mark.parametrize("name", [name for name in METHODS if name not in UNCOUNTED])
def test_the_formula_for_trained_parameters_is_the_count(name: str, recipe_of: Any) -> None:
    """The formula in the docstring itself is computed, and held against an attached toy."""
    targeted = "target_modules" in METHODS[name].settings_class.model_fields and name not in ("bottleneck", "ln-tuning")
    chosen = {"name": name, **SETTINGS.get(name, {}), **({"target_modules": TARGETS} if targeted else {})}
    _, method, base = build(recipe_of(chosen))
    settings = method.settings.model_dump()
    found = list(formulas(described(METHODS[name]).parts["Parameters"]))
    assert found
    expected = sum(
        eval(text, {"__builtins__": {}}, names_in(name, settings, *shape))
        for text, scope in found
        for shape in SCOPES[scope]
    )
    model = method.attach(base, STEPS)
    assert count(model)[0] - 3 * (WIDTH + 1) == expected


def test_baselines_train_all_or_the_head_alone(recipe_of: Any) -> None:
    _, method, base = build(recipe_of("full"))
    assert count(method.attach(base, STEPS))[0] == sum(parameter.numel() for parameter in base.model.parameters())
    _, method, base = build(recipe_of("head"))
    assert count(method.attach(base, STEPS))[0] == 3 * (WIDTH + 1)


def test_factors_of_the_feed_forward_are_as_many_as_its_inputs(recipe_of: Any) -> None:
    settings = {"name": "ia3", "target_modules": TARGETS, "feedforward_modules": ["intermediate.dense"]}
    _, method, base = build(recipe_of(settings))
    assert count(method.attach(base, STEPS))[0] - 3 * (WIDTH + 1) == LAYERS * (WIDTH + WIDTH)
