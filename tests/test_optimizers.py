"""LoRA+ and LoRA-FA: which weights move, at which rate and by which rule; and that a resumed run goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import peftkit
from peftkit.errors import RecipeErrors
from peftkit.methods import METHODS
from peftkit.model.preparing import prepare
from peftkit.probes.parameters import count
from peftkit.recipe.groups import FOR_FACTORS, Training
from peftkit.training import optimization
from peftkit.training.optimizers import OPTIMIZERS
from tests.test_methods import STEPS, batch, build

RATE = 1e-3


def made(recipe: Any, seed: int | None = None) -> tuple[Any, Any, Any]:
    """The model, the method's factors and the optimizer of a recipe."""
    _, method, base = build(recipe, seed)
    model = prepare(method.attach(base, STEPS), recipe.training)
    factors = method.factors(model)
    return model, factors, optimization(recipe.training, factors).optimizer(model, RATE)


def names_of(model: Any, parameters: Any) -> set[str]:
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def backward(model: Any, seed: int = 0) -> None:
    torch.manual_seed(seed)
    model.train()
    torch.nn.functional.cross_entropy(model(**batch()).logits, torch.arange(6) % 3).backward()


def test_the_recipe_knows_the_table() -> None:
    assert tuple(OPTIMIZERS) == get_args(Training.model_fields["optim"].annotation)
    assert tuple(name for name, optimizer in OPTIMIZERS.items() if optimizer.needs_factors) == FOR_FACTORS


@pytest.mark.parametrize("name", FOR_FACTORS)
def test_with_a_method_without_factors_it_is_refused_naming_what_works(name: str, recipe_of: Any) -> None:
    for method in ("ia3", "adalora", "full"):
        with pytest.raises(
            RecipeErrors, match=rf"training.optim: {name} .* method {method} gives none; use method lora"
        ):
            recipe_of(method, **{"training.optim": name})


def test_a_ratio_without_loraplus_is_refused(recipe_of: Any) -> None:
    with pytest.raises(RecipeErrors, match="loraplus_lr_ratio is for optim: loraplus, given optim: adamw"):
        recipe_of("lora", **{"training.loraplus_lr_ratio": 4.0})
    with pytest.raises(RecipeErrors, match="greater than or equal to 1"):
        recipe_of("lora", **{"training.optim": "loraplus", "training.loraplus_lr_ratio": 0.5})


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.factored])
def test_factors_are_every_a_and_b(name: str, recipe_of: Any) -> None:
    model, factors, _ = made(recipe_of({"name": name, "r": 3, "lora_alpha": 12.0}))
    assert len(factors) == 4
    assert names_of(model, [pair.up for pair in factors]) == {n for n, _ in model.named_parameters() if ".lora_B." in n}
    assert names_of(model, [pair.down for pair in factors]) == {
        n for n, _ in model.named_parameters() if ".lora_A." in n
    }
    assert {pair.scaling for pair in factors} == {4.0}


class TestLoraplus:
    def test_exactly_the_bs_move_at_ratio_times_the_rate(self, recipe_of: Any) -> None:
        settings = {"training.optim": "loraplus", "training.loraplus_lr_ratio": 8.0, "training.weight_decay": 0.1}
        model, _, optimizer = made(recipe_of({"name": "lora", "bias": "lora_only"}, **settings))
        rates = {name: group["lr"] for group in optimizer.param_groups for name in names_of(model, group["params"])}
        assert {name for name, rate in rates.items() if rate == RATE * 8} == {n for n in rates if ".lora_B." in n}
        assert set(rates.values()) == {RATE, RATE * 8}
        assert set(rates) == {name for name, p in model.named_parameters() if p.requires_grad}
        assert any("classifier" in name for name in rates)
        undecayed = [p for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"]]
        assert undecayed and all(parameter.ndim == 1 for parameter in undecayed)
        assert optimizer.param_groups[0]["lr"] == RATE  # what the history calls the learning rate

    def test_b_moves_ratio_times_as_far_as_under_adamw(self, recipe_of: Any) -> None:
        """Adam's first step is rate·sign(gradient), so it shows the rate of each weight."""
        steps = {}
        for name in ("adamw", "loraplus"):
            model, factors, optimizer = made(recipe_of("lora", **{"training.optim": name}))
            backward(model)
            optimizer.step()
            steps[name] = torch.cat([pair.up.detach().flatten() for pair in factors])
        torch.testing.assert_close(steps["loraplus"], 16 * steps["adamw"])


class TestLorafa:
    SETTINGS = {"training.optim": "lorafa"}

    def test_a_is_not_trained_and_not_counted(self, recipe_of: Any) -> None:
        model, factors, optimizer = made(recipe_of({"name": "lora", "r": 4}, **self.SETTINGS))
        assert count(model)[0] == 4 * 32 * 4 + 3 * 32 + 3  # the B of four layers and the head
        stepped = names_of(model, [p for group in optimizer.param_groups for p in group["params"]])
        assert not any("lora_A" in name for name in stepped)
        assert {name for name in stepped if "lora_B" in name} == names_of(model, [pair.up for pair in factors])

    def test_the_gradient_is_that_of_the_weight_within_the_rows_of_a(self, recipe_of: Any) -> None:
        """s·ΔB·A = G_W·Aᵀ(A·Aᵀ)⁻¹A, the projection on A's rows of W's own gradient, for any scaling."""
        recipe = recipe_of({"name": "lora", "r": 3, "lora_alpha": 7.5}, **self.SETTINGS)
        model, factors, optimizer = made(recipe)
        layers = [module.base_layer for module in model.modules() if hasattr(module, "lora_A")]
        for layer in layers:
            layer.weight.requires_grad_(True)
        backward(model)
        optimizer.step()
        for layer, pair in zip(layers, factors, strict=True):
            a = pair.down.detach()
            within = layer.weight.grad @ torch.linalg.pinv(a) @ a
            torch.testing.assert_close(pair.scaling * pair.up.grad @ a, within, atol=1e-6, rtol=1e-4)

    def test_the_step_is_adams_on_that_gradient(self, recipe_of: Any) -> None:
        model, factors, optimizer = made(recipe_of({"name": "lora", "r": 3}, **self.SETTINGS))
        moments = [(torch.zeros_like(pair.up), torch.zeros_like(pair.up)) for pair in factors]
        for step in (1, 2, 3):
            backward(model, seed=step)
            before = [pair.up.detach().clone() for pair in factors]
            raw = [pair.up.grad.clone() for pair in factors]
            optimizer.step()
            optimizer.zero_grad()
            for pair, old, gradient, (mean, square) in zip(factors, before, raw, moments, strict=True):
                wanted = gradient @ torch.linalg.inv(pair.down @ pair.down.T) / pair.scaling**2
                mean.mul_(0.9).add_(0.1 * wanted)
                square.mul_(0.999).add_(0.001 * wanted**2)
                moved = RATE * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
                torch.testing.assert_close(pair.up.detach(), old - moved, atol=1e-6, rtol=1e-4)

    def test_a_layer_whose_a_has_dependent_rows_is_no_trouble(self, recipe_of: Any) -> None:
        model, factors, optimizer = made(recipe_of({"name": "lora", "r": 40}, **self.SETTINGS))
        backward(model)
        optimizer.step()
        assert all(pair.up.isfinite().all() and pair.up.any() for pair in factors)


@pytest.mark.parametrize("name", FOR_FACTORS)
def test_a_whole_run_trains_saves_and_passes_the_guard(name: str, recipe_of: Any, tmp_path: Path) -> None:
    """The guard holds what is frozen to being bit for bit as it was: LoRA-FA's A with it."""
    from safetensors.torch import load_file

    settings = {"training.optim": name, "training.max_steps": 6, "training.eval_strategy": "no"}
    record = peftkit.run(recipe_of("lora", **settings), tmp_path / "run")
    assert record.method["checked_after_steps"] == 3 and record.method["unmoved"] == []
    started = build(recipe_of("lora"))
    fresh = dict(started[1].attach(started[2], STEPS).named_parameters())
    for key, tensor in load_file(tmp_path / "run" / "adapter_model.safetensors").items():
        if ".lora_A." in key:
            begun = fresh[key.replace(".weight", ".default.weight")]
            assert torch.equal(tensor, begun) == (name == "lorafa"), key


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_from_its_state_it_goes_on_bit_for_bit(name: str, recipe_of: Any) -> None:
    recipe = recipe_of("lora", **{"training.optim": name, "training.weight_decay": 0.01})
    straight, _, optimizer = made(recipe)
    for step in range(4):
        backward(straight, seed=step)
        optimizer.step()
        optimizer.zero_grad()
        if step == 1:
            weights = {key: p.detach().clone() for key, p in straight.named_parameters()}
            state = {**optimizer.state_dict()}
            state["state"] = {key: {k: v.clone() for k, v in kept.items()} for key, kept in state["state"].items()}
    resumed, _, optimizer = made(recipe, seed=5)  # what a checkpoint holds must be all that counts
    with torch.no_grad():
        for key, parameter in resumed.named_parameters():
            parameter.copy_(weights[key])
    optimizer.load_state_dict(state)
    for step in (2, 3):
        backward(resumed, seed=step)
        optimizer.step()
        optimizer.zero_grad()
    for (key, one), (_, other) in zip(straight.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(one, other), key
