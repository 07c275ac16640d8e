"""Where LoRA's A and B begin: EVA in the directions of a layer's inputs, LoftQ in what quantization took away."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import peftkit
from peftkit.adapters import eva
from peftkit.data import Batches, encode, load_splits
from peftkit.errors import RecipeErrors, UserError
from peftkit.model.preparing import prepare
from tests.test_methods import CPU, STEPS, build, logits, train


def started(recipe: Any) -> tuple[Any, Any, Batches]:
    """The method, its model once it has begun from data, and the batches that it began from."""
    task, method, base = build(recipe)
    rows = encode(load_splits(recipe.data, task)["train"], task, 32)
    batches = Batches(rows, task, recipe, CPU)
    model = method.attach(base, STEPS)
    method.initialize(model, batches)
    return method, model, batches


def adapted(model: Any) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


class TestEva:
    SETTINGS = {"name": "lora", "r": 4, "init_lora_weights": "eva"}
    ONE_BATCH = {"training.batch_size": 96}

    def test_a_is_the_principal_directions_of_the_layers_inputs(self, recipe_of: Any) -> None:
        """With one batch of all rows there is nothing incremental: A are the first right singular vectors of the
        centred inputs at positions that are no padding, and hold as much of their variance as any r directions can
        (peft's decomposition is a randomized one: the last direction is the least exact)."""
        recipe = recipe_of(self.SETTINGS | {"eva_config": {"rho": 1.0}}, **self.ONE_BATCH)
        _, model, batches = started(recipe)
        (batch,) = batches
        assert len(adapted(model)) == 4
        for layer in adapted(model).values():
            seen: list[torch.Tensor] = []
            handle = layer.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
            with torch.no_grad(), model.disable_adapter():
                model.eval()(**batch.inputs)
            handle.remove()
            inputs = seen[0][batch.inputs["attention_mask"].bool()]
            centred = inputs - inputs.mean(0)
            _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
            a = layer.lora_A["default"].weight.detach()
            cosines = torch.nn.functional.cosine_similarity(a, directions[:4]).abs()
            assert cosines[:2].min() > 0.99, cosines
            most = sizes[:4].square().sum()
            assert 0.999 * most < (centred @ a.T).square().sum() < 1.0001 * most
            torch.testing.assert_close(a @ a.T, torch.eye(4), atol=1e-4, rtol=0)

    def test_padding_is_not_looked_at(self, recipe_of: Any) -> None:
        _, _, batches = started(recipe_of(self.SETTINGS))
        batch = batches[0]
        mask = batch.inputs["attention_mask"].bool()
        hidden = torch.randn(*mask.shape, 5)
        assert len(eva._seen((hidden,), mask)) == int(mask.sum()) < mask.numel()
        assert len(eva._seen(hidden[:, 0], mask)) == len(mask)  # a pooled text is one input to a row
        assert len(eva._seen(hidden, None)) == mask.numel()

    def test_redistributed_ranks_are_kept_and_reload(self, recipe_of: Any, tmp_path: Path) -> None:
        recipe = recipe_of(self.SETTINGS, **self.ONE_BATCH)
        method, model, _ = started(recipe)
        plain = logits(build(recipe)[2].model)
        torch.testing.assert_close(logits(model), plain, atol=1e-6, rtol=0)
        ranks = {name: layer.r["default"] for name, layer in adapted(model).items()}
        assert sum(ranks.values()) == 4 * 4 and len({*ranks.values()}) > 1 and max(ranks.values()) <= 8
        assert {layer.scaling["default"] for layer in adapted(model).values()} == {2.0}  # alpha moves with the rank
        told = method.outcome(model)["ranks"]
        assert told == {name.removeprefix("base_model.model."): r for name, r in ranks.items() if r != 4}
        train(prepare(model, recipe.training), method)
        method.save(model, tmp_path)
        _, _, fresh = build(recipe, seed=9)
        again = method.load(fresh, tmp_path)
        torch.testing.assert_close(logits(again), logits(model), atol=2e-6, rtol=0)
        assert {name: layer.r["default"] for name, layer in adapted(again).items()} == ranks

    def test_a_layer_that_gets_no_rank_is_left_out_of_what_is_said_to_be_reached(self, recipe_of: Any) -> None:
        recipe = recipe_of(
            self.SETTINGS | {"r": 1, "eva_config": {"rho": 4.0}, "target_modules": ["query", "dense"]},
            **self.ONE_BATCH,
            **{"training.max_length": 32},
        )
        recipe = recipe.model_copy(
            update={"method": recipe.method.model_copy(update={"exclude_modules": [".*pooler.*"]})}
        )
        method, model, _ = started(recipe)
        reached = method.reach(model)["targeted_modules"]
        assert reached == sorted(name.removeprefix("base_model.model.") for name in adapted(model))
        assert 0 < len(reached) < 8

    def test_too_few_inputs_in_a_batch_are_told_at_once(self, recipe_of: Any) -> None:
        settings = self.SETTINGS | {"target_modules": ["pooler.dense"], "r": 8}
        with pytest.raises(UserError, match=r"pooler.dense sees 8 inputs in a batch, fewer than the 16 directions"):
            started(recipe_of(settings, **{"training.batch_size": 8}))

    def test_directions_that_do_not_settle_are_an_end(self, recipe_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(eva, "PATIENCE", 3)
        with pytest.raises(UserError, match=r"have not settled after 3 batches; raise training\.batch_size") as error:
            started(recipe_of(self.SETTINGS | {"eva_config": {"tau": 1.0}}, **{"training.batch_size": 16}))
        assert "\n" not in str(error.value)

    def test_a_whole_run_begins_from_its_own_rows(self, recipe_of: Any, tmp_path: Path) -> None:
        settings = {"training.max_steps": 4, "training.eval_strategy": "no", **self.ONE_BATCH}
        record = peftkit.run(recipe_of(self.SETTINGS, **settings), tmp_path / "run")
        assert record.status == "ok" and record.method["ranks"]

    def test_its_fields_go_with_it_alone(self, recipe_of: Any) -> None:
        with pytest.raises(RecipeErrors, match="eva_config goes with init_lora_weights: eva"):
            recipe_of({"name": "lora", "eva_config": {"rho": 2.0}})
        with pytest.raises(RecipeErrors, match=r"unknown key, did you mean rho\? \(allowed: rho, tau,"):
            recipe_of(self.SETTINGS | {"eva_config": {"rhoo": 2.0}})


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
class TestLoftq:
    SETTINGS = {"name": "lora", "r": 5, "init_lora_weights": "loftq"}

    def test_what_is_left_of_the_error_is_what_rank_r_cannot_hold(self, bits: str, kind: str, recipe_of: Any) -> None:
        """||W - (Q + s·B·A)||² is the sum of the squares of the other singular values of W - Q (Eckart & Young)."""
        from peft.utils.integrations import dequantize_bnb_weight

        recipe = recipe_of(self.SETTINGS, kind, quantization=bits)
        _, method, base = build(recipe)
        original = base.unquantized()
        model = method.attach(base, STEPS)
        assert adapted(model)
        for name, layer in adapted(model).items():
            weight = original.get_submodule(name.removeprefix("base_model.model.")).weight
            weight = weight.T if kind == "gpt2" else weight
            packed = layer.base_layer
            quantized = dequantize_bnb_weight(packed.weight, state=getattr(packed, "state", None))
            error = weight - quantized
            update = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            left = torch.linalg.svdvals(error)[5:].square().sum().sqrt()
            torch.testing.assert_close((error - update).norm(), left, atol=1e-5, rtol=1e-3)
            assert (error - update).norm() < 0.95 * error.norm()

    def test_saved_and_loaded_into_a_fresh_base(self, bits: str, kind: str, recipe_of: Any, tmp_path: Path) -> None:
        recipe = recipe_of(self.SETTINGS, kind, quantization=bits)
        _, method, base = build(recipe)
        model = prepare(method.attach(base, STEPS), recipe.training)
        train(model, method)
        method.save(model, tmp_path)
        _, _, fresh = build(recipe, seed=9)
        torch.testing.assert_close(logits(method.load(fresh, tmp_path)), logits(model), atol=2e-6, rtol=0)


def test_what_cannot_be_is_refused_in_the_recipe(recipe_of: Any) -> None:
    for settings, bits, told in (
        ({"init_lora_weights": "loftq"}, "none", "loftq makes up for quantization; give quantization: 4bit or 8bit"),
        ({"init_lora_weights": "pissa"}, "4bit", "cannot in 4 bits; use true, eva or loftq"),
        ({"use_dora": True}, "8bit", "use_dora fails on 8-bit weights"),
        ({"use_dora": True, "init_lora_weights": "loftq"}, "4bit", "use_dora takes its magnitudes before loftq"),
    ):
        with pytest.raises(RecipeErrors, match=told) as error:
            recipe_of({"name": "lora", **settings}, quantization=bits)
        assert "\n" not in str(error.value)


def test_only_the_checkpoint_from_before_quantizing_will_do(recipe_of: Any) -> None:
    recipe = recipe_of({"name": "lora", "init_lora_weights": "loftq"}, quantization="4bit")
    _, method, base = build(recipe)
    for bits, told in ((4, "holds quantized weights only"), (None, "the base is not quantized")):
        with pytest.raises(UserError, match=told):
            method.attach(dataclasses.replace(base, unquantized=None, bits=bits), STEPS)


def test_a_run_with_loftq_is_nearer_to_the_whole_base_at_the_start(recipe_of: Any) -> None:
    """What the alternations are for: the logits before any training."""
    whole = logits(build(recipe_of("lora"))[2].model)
    distance = {}
    for start in (True, "loftq"):
        settings = {"name": "lora", "r": 16, "target_modules": "all-linear", "init_lora_weights": start}
        _, method, base = build(recipe_of(settings, quantization="4bit"))
        distance[start] = float((logits(method.attach(base, STEPS)) - whole).norm())
    assert distance["loftq"] < 0.8 * distance[True], distance
