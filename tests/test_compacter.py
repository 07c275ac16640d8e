"""Compacter: bottleneck adapters whose projections are sums of Kronecker products, one factor shared by all layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from peftkit.errors import RecipeErrors, UserError
from peftkit.model.preparing import prepare
from peftkit.probes.parameters import count
from peftkit.tuners.bottleneck.kronecker import KroneckerLinear, shared_rule
from tests.test_methods import STEPS, build, logits, train

SETTINGS = {"name": "bottleneck", "variant": "houlsby", "reduction_factor": 4, "phm_dim": 4}
HIDDEN, UNITS = 32, 8
HEAD = 3 * HIDDEN + 3


def projections(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, KroneckerLinear)]


@pytest.mark.parametrize("n, rank", [(2, 1), (4, 3)])
def test_the_weight_is_the_sum_of_kronecker_products(n: int, rank: int) -> None:
    torch.manual_seed(0)
    layer = KroneckerLinear(HIDDEN, UNITS, shared_rule(n), rank)
    products = [torch.kron(layer.rule[i], layer.left[i] @ layer.right[i]) for i in range(n)]
    torch.testing.assert_close(layer.weight(), torch.stack(products).sum(0))
    inputs = torch.randn(3, HIDDEN)
    torch.testing.assert_close(layer(inputs), inputs @ layer.weight().T + layer.bias)


def test_the_weight_begins_as_wide_as_that_of_a_plain_layer() -> None:
    """1 / (3·in), over many draws; and at zero where it is asked to."""
    torch.manual_seed(0)
    weights = torch.stack([KroneckerLinear(HIDDEN, UNITS, shared_rule(4), 2).weight() for _ in range(400)])
    assert abs(float(weights.var()) * 3 * HIDDEN - 1) < 0.15
    assert not KroneckerLinear(UNITS, HIDDEN, shared_rule(4), 1, zero=True).weight().any()


@pytest.mark.parametrize("rank", [1, 2])
def test_trained_parameters_are_what_the_docstring_says(rank: int, recipe_of: Any) -> None:
    _, method, base = build(recipe_of(SETTINGS | {"phm_rank": rank}))
    model = method.attach(base, STEPS)
    adapters = 4  # two in each of two layers
    assert count(model)[0] - HEAD == adapters * (2 * rank * (HIDDEN + UNITS) + UNITS + HIDDEN) + 4**3


def test_all_layers_share_the_first_factors_after_loading_too(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of(SETTINGS)
    _, method, base = build(recipe)
    plain = logits(base.model)
    model = prepare(method.attach(base, STEPS), recipe.training)
    torch.testing.assert_close(logits(model), plain, atol=1e-6, rtol=0)
    before = {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}
    losses = train(model, method)
    assert min(losses[-3:]) < losses[0] - 0.05
    assert all(not torch.equal(p, before[key]) for key, p in model.named_parameters() if p.requires_grad)
    method.save(model, tmp_path)
    again = method.load(build(recipe, seed=9)[2], tmp_path)
    torch.testing.assert_close(logits(again), logits(model), atol=2e-6, rtol=0)
    for loaded in (model, again):
        assert len(projections(loaded)) == 8
        assert len({id(projection.rule) for projection in projections(loaded)}) == 1


def test_two_adapters_do_not_share_with_each_other(recipe_of: Any) -> None:
    _, method, base = build(recipe_of(SETTINGS))
    model: Any = method.attach(base, STEPS)
    model.add_adapter("other", model.peft_config["default"])
    assert len({id(projection.rule) for projection in projections(model)}) == 2


@pytest.mark.parametrize("kind, bits", [("llama", "none"), ("bert", "4bit")])
@pytest.mark.parametrize("variant", ["pfeiffer", "parallel"])
def test_it_trains_and_loads_wherever_bottlenecks_do(
    variant: str, kind: str, bits: str, recipe_of: Any, tmp_path: Path
) -> None:
    recipe = recipe_of(SETTINGS | {"variant": variant}, kind, quantization=bits)
    _, method, base = build(recipe)
    model = prepare(method.attach(base, STEPS), recipe.training)
    losses = train(model, method)
    assert min(losses[-3:]) < losses[0] - 0.05
    method.save(model, tmp_path)
    _, _, fresh = build(recipe, seed=7)
    torch.testing.assert_close(logits(method.load(fresh, tmp_path)), logits(model), atol=2e-6, rtol=0)


def test_what_does_not_divide_names_what_does(recipe_of: Any) -> None:
    _, method, base = build(recipe_of(SETTINGS | {"phm_dim": 3}))
    with pytest.raises(UserError, match=r"phm_dim 3 must divide .* here 32 and 8; what fits: 2, 4, 8$"):
        method.attach(base, STEPS)
    with pytest.raises(RecipeErrors, match="phm_rank goes with phm_dim"):
        recipe_of({"name": "bottleneck", "phm_rank": 2})
