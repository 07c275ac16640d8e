"""A mixture in a recipe: a list of two methods, read, written, hashed and refused without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import peftkit
from peftkit.errors import RecipeErrors
from peftkit.mixtures import Mixture, MixtureSettings, method_of
from peftkit.recipe import check
from peftkit.recipe.reading import lay_over, parse_yaml
from peftkit.suites import load_suite

START = "model: some/model\ntask: text-classification\ndata: none\n"


def told(text: str, *overrides: str) -> Any:
    """The recipe that `text` (its method) describes."""
    data, places = parse_yaml(f"{START}{text}", "recipe.yaml")
    lay_over(data, places, overrides)
    return check(data, places)


def test_a_mixture_is_what_all_of_its_parts_are() -> None:
    mixture = method_of(told("method: [bottleneck, bitfit]").method)
    assert isinstance(mixture, Mixture)
    assert (mixture.learning_rate, mixture.mergeable, mixture.half_precision, mixture.quantizable) == (
        1e-3,
        False,
        False,
        True,
    )
    assert method_of(told("method: [prefix-tuning, lora]").method).learning_rate == 5e-4
    assert method_of(told("method: [prefix-tuning, lora]").method).virtual_tokens() == 20
    assert not method_of(told("method: [prefix-tuning, lora]").method).checkpointable
    assert method_of(told("method: [oft, lora]").method).mergeable


@pytest.mark.parametrize(
    "method",
    ["[lora, bitfit]", "[{name: bottleneck, variant: houlsby}, bitfit]", "[{name: lora, r: 4}, prefix-tuning]"],
)
def test_a_recipe_with_a_list_reads_back_equal(method: str) -> None:
    recipe = told(f"method: {method}")
    assert isinstance(recipe.method, MixtureSettings)
    again = check(*parse_yaml(recipe.to_yaml(), "again.yaml"))
    assert (again, again.hash) == (recipe, recipe.hash)
    assert peftkit.Recipe.model_validate(recipe.given()) == recipe
    assert told("method: lora", f"method={method}") == recipe


def test_a_list_of_one_is_that_method() -> None:
    assert told("method: [lora]") == told("method: lora")
    assert told("method: [{name: lora, r: 4}]").hash == told("method: {name: lora, r: 4}").hash
    assert told("method: [lora, bitfit]").hash != told("method: [bitfit, lora]").hash


@pytest.mark.parametrize(
    "method, message",
    [
        ("[]", r"^recipe.yaml:4: method: an empty list; give a method"),
        ("[lora, bitfit, ia3]", r"3 methods in a list; a mixture is of two"),
        ("[lora, lora]", r"same method twice"),
        ("[full, lora]", r"method.0: full trains every weight"),
        ("[lora, head]", r"method.1: the head is trained beside every method"),
        ("[lora, loha]", r"method.1: loha has not been tried .* bitfit, "),
        ("[lora, adalora]", r"use adalora alone, or lora with bottleneck"),
        ("[ln-tuning, bitfit]", r"ln-tuning with lora"),
        ("[bitfit, {name: lora, bias: all}]", r"both train the base's biases"),
        ("[ln-tuning, {name: lora, bias: all}]", r"without effect"),
        (
            "[{name: trainable-tokens, token_indices: [1]}, prefix-tuning]",
            r"only when it is the last; use one of them with lora",
        ),
        ("[prefix-tuning, prompt-tuning]", r"only one can put something before the text"),
        (
            "[{name: lora, init_lora_weights: pissa}, bitfit]",
            r"method.0: init_lora_weights: pissa .* use true or gaussian",
        ),
        (
            "[bitfit, {name: lora, rr: 3}]",
            r"^recipe.yaml:4: method.1.rr: unknown key, did you mean r\? \(allowed: name, r",
        ),
        ("[{name: lora, rr: 3}]", r"^recipe.yaml:4: method.0.rr: unknown key, did you mean r\?"),
        ("[bitfti, lora]", r"method.0: unknown method 'bitfti', did you mean bitfit\?"),
        ("[lora, {name: adalora, init_r: 2}]", r"method.1: target_r \(8\) must be below"),
        ("[lora, peft]", r"method.1.peft_type: required"),
    ],
)
def test_what_cannot_be_mixed_is_told_with_its_place(method: str, message: str) -> None:
    with pytest.raises(RecipeErrors, match=message) as error:
        told(f"method: {method}")
    assert "\n" not in str(error.value)


def test_vera_and_lora_on_an_8_bit_base_are_refused() -> None:
    assert told("method: [lora, vera]\nquantization: 4bit").quantization.bits == 4
    with pytest.raises(RecipeErrors, match="do not go together in 8 bits"):
        told("method: [lora, vera]\nquantization: 8bit")


def test_a_mixture_is_a_cell_of_a_suite(tmp_path: Path) -> None:
    base = "base: {model: some/model, method: lora, task: text-classification, data: none}"
    file = tmp_path / "suite.yaml"
    file.write_text(f"{base}\nvary:\n  method: [lora, [lora, bitfit], [{{name: lora, r: 4}}, bottleneck]]\n")
    cells = load_suite(file)
    assert [cell.recipe.method.name for cell in cells] == ["lora", "lora+bitfit", "lora+bottleneck"]
    assert [cell.name.rpartition("-")[0] for cell in cells] == ["lora", "lora-bitfit", "lora-r4-bottleneck"]
