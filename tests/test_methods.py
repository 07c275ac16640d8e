"""Every method of the table keeps the contract, on a full-precision, an 8-bit and a 4-bit base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from peftkit.capabilities import setting_aside
from peftkit.errors import RecipeErrors, UserError
from peftkit.methods import METHODS
from peftkit.mixtures import method_of
from peftkit.model import load_base, load_config, load_processor
from peftkit.model.preparing import prepare
from peftkit.probes.parameters import count
from peftkit.tasks import TASKS

CPU = torch.device("cpu")
STEPS = 20
QUANTIZED = [
    (name, bits)
    for name, method in METHODS.items()
    for bits in ("none", "8bit", "4bit")
    if method.quantizable or bits == "none"
]
IDENTICAL_AT_START = [name for name, method in METHODS.items() if method.identity_at_start] + ["oft", "boft", "shira"]
"""Those that promise it to every run, and those that keep it on bases that are not quantized."""
SETTINGS: dict[str, Any] = {
    "peft": {"name": "peft", "peft_type": "LORA", "fields": {"r": 4}},
    "trainable-tokens": {"name": "trainable-tokens", "token_indices": [*range(5, 60)]},
}
"""Methods that need to be told more than their name."""


def build(recipe: Any, seed: int | None = None) -> tuple[Any, Any, Any]:
    """The task, the method and the base of a recipe."""
    task = TASKS[recipe.task.name](recipe.task)
    task.learn(Dataset.from_dict({"label": ["class0", "class1", "class2"]}))
    task.equip(load_processor(recipe.model, task), load_config(recipe.model))
    return task, method_of(recipe.method), load_base(recipe, task, CPU, seed)


def batch(rows: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 60, (rows, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(**batch()).logits


def train(model: Any, method: Any, steps: int = STEPS, rate: float = 1e-2) -> list[float]:
    """A plain loop over one batch; the losses."""
    torch.manual_seed(0)
    model.train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer, hooks, losses = torch.optim.AdamW(trainable, lr=rate), method.hooks(model), []
    labels = torch.arange(6) % 3
    for step in range(1, steps + 1):
        loss = torch.nn.functional.cross_entropy(model(**batch()).logits, labels)
        losses.append(loss.item())
        for hook in hooks:
            term = hook.regularization()
            loss = loss if term is None else loss + term
        loss.backward()
        optimizer.step()
        for hook in hooks:
            hook.after_optimizer_step(step)
        optimizer.zero_grad()
    return losses


@pytest.mark.parametrize("name, bits", QUANTIZED)
def test_trains_what_it_says_and_nothing_else(name: str, bits: str, recipe_of: Any) -> None:
    _, method, base = build(recipe_of(SETTINGS.get(name, name), quantization=bits))
    for key, parameter in base.model.named_parameters():
        if key.endswith("bias"):  # zero in a model that is not trained, where a factor of it would get no gradient
            parameter.data.normal_(std=0.02)
    model = prepare(method.attach(base, STEPS), recipe_of().training)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    losses = train(model, method)
    assert min(losses[-3:]) < losses[0] - 0.05, losses
    for key, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[key])
        assert moved == parameter.requires_grad, key
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name, bits", QUANTIZED)
def test_saved_and_loaded_into_a_fresh_base_gives_the_same_logits(
    name: str, bits: str, recipe_of: Any, tmp_path: Path
) -> None:
    recipe = recipe_of(SETTINGS.get(name, name), quantization=bits)
    _, method, base = build(recipe)
    model = prepare(method.attach(base, STEPS), recipe.training)
    train(model, method)
    trained = logits(model)
    method.save(model, tmp_path)
    _, _, fresh = build(recipe, seed=99)
    assert not torch.allclose(logits(fresh.model), trained, atol=1e-3)
    torch.testing.assert_close(logits(method.load(fresh, tmp_path)), trained, atol=2e-6, rtol=0)
    assert list(tmp_path.glob("*.safetensors"))
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("name", IDENTICAL_AT_START)
def test_at_the_start_it_computes_what_the_base_computes(name: str, recipe_of: Any) -> None:
    _, method, base = build(recipe_of(SETTINGS.get(name, name)))
    plain = logits(base.model)
    torch.testing.assert_close(logits(method.attach(base, STEPS)), plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.quantizable])
def test_a_quantized_base_counts_the_parameters_of_the_unquantized_one(name: str, recipe_of: Any) -> None:
    counts = set()
    for bits in ("none", "8bit", "4bit"):
        _, method, base = build(recipe_of(SETTINGS.get(name, name), quantization=bits))
        counts.add(count(method.attach(base, STEPS)))
    assert len(counts) == 1


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_the_head_is_never_quantized(bits: str, recipe_of: Any) -> None:
    _, method, base = build(recipe_of("lora", quantization=bits))
    model = method.attach(base, STEPS)
    assert base.head == ("classifier",)
    kinds = {type(p).__name__ for key, p in model.named_parameters() if "classifier" in key}
    assert kinds == {"Parameter"}
    assert any(type(p).__name__ in ("Params4bit", "Int8Params") for p in model.parameters())


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "deberta-v2", "gpt2", "llama"])
@pytest.mark.parametrize("name", ["head", "lora", "bottleneck"])
def test_every_new_module_is_trained_saved_and_loaded(kind: str, name: str, recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of(name, kind)
    _, method, base = build(recipe)
    model = prepare(method.attach(base, STEPS), recipe.training)
    train(model, method)
    method.save(model, tmp_path)
    _, _, fresh = build(recipe, seed=5)
    torch.testing.assert_close(logits(method.load(fresh, tmp_path)), logits(model), atol=2e-6, rtol=0)


def test_heads_are_found_whatever_they_are_called(recipe_of: Any) -> None:
    heads = {
        kind: build(recipe_of("lora", kind))[2].head for kind in ("bert", "distilbert", "deberta-v2", "gpt2", "llama")
    }
    assert heads == {
        "bert": ("classifier",),
        "distilbert": ("classifier", "pre_classifier"),
        "deberta-v2": ("classifier", "pooler"),
        "gpt2": ("score",),
        "llama": ("score",),
    }


def test_full_on_a_quantized_base_is_refused_naming_what_works(recipe_of: Any) -> None:
    with pytest.raises(RecipeErrors, match=r"cannot do so in 4 bits; use one of .*lora"):
        recipe_of("full", quantization="4bit")


def test_a_target_that_matches_nothing_names_the_layers_there_are(recipe_of: Any) -> None:
    _, method, base = build(recipe_of({"name": "lora", "target_modules": ["querry"]}))
    with pytest.raises(
        UserError, match=r"'querry' matches no module .* did you mean query\? .*dense, key, query, value"
    ):
        method.attach(base, STEPS)


def test_all_linear_reaches_every_linear_layer_but_the_head(recipe_of: Any) -> None:
    _, method, base = build(recipe_of({"name": "lora", "target_modules": "all-linear"}))
    reach = method.reach(method.attach(base, STEPS))
    assert reach["targeted_linear_share"] == 1.0
    assert not any("classifier" in name for name in reach["targeted_modules"])


def test_a_truncated_adapter_file_is_an_error(recipe_of: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    recipe = recipe_of("lora")
    _, method, base = build(recipe)
    method.save(method.attach(base, STEPS), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match="truncated: 1 tensors are missing"):
        method.load(build(recipe, seed=1)[2], tmp_path)


class TestAdalora:
    """The schedule that peft leaves to the trainer."""

    SETTINGS = {"name": "adalora", "init_r": 6, "target_r": 2}

    def test_ranks_shrink_to_the_budget(self, recipe_of: Any) -> None:
        _, method, base = build(recipe_of(self.SETTINGS))
        model = method.attach(base, STEPS)
        assert sum(method.outcome(model)["final_ranks"].values()) == 0  # lambda starts at zero
        train(model, method)
        ranks = method.outcome(model)["final_ranks"]
        assert len(ranks) == 4
        assert sum(ranks.values()) == 4 * 2

    def test_only_weights_at_the_final_ranks_may_be_the_best(self, recipe_of: Any) -> None:
        _, method, base = build(recipe_of(self.SETTINGS))
        (hook,) = method.hooks(method.attach(base, STEPS))
        tfinal = method.settings.schedule(STEPS)["tfinal"]
        assert not hook.settled(STEPS - tfinal - 1)
        assert hook.settled(STEPS - tfinal)

    def test_regularization_is_what_peft_adds_to_its_loss(self, recipe_of: Any) -> None:
        _, method, base = build(recipe_of(self.SETTINGS))
        model = method.attach(base, STEPS)
        labels = torch.arange(6) % 3
        model.eval()
        with_peft = model.base_model(**batch(), labels=labels).loss
        plain = torch.nn.functional.cross_entropy(model(**batch()).logits, labels)
        torch.testing.assert_close(plain + method.hooks(model)[0].regularization(), with_peft)

    def test_too_few_steps_are_told_before_anything_loads(self, recipe_of: Any) -> None:
        method = METHODS["adalora"](recipe_of({"name": "adalora", "tinit": 4, "tfinal": 4}).method)
        assert "leave no room to prune" in next(method.objections(8))
        assert not list(method.objections(100))

    def test_a_budget_that_does_not_shrink_is_refused(self, recipe_of: Any) -> None:
        with pytest.raises(RecipeErrors, match=r"target_r \(8\) must be below init_r \(8\)"):
            recipe_of({"name": "adalora", "init_r": 8})


@setting_aside()
def test_prefix_tuning_where_it_cannot_work_is_told_in_one_line(recipe_of: Any) -> None:
    _, method, base = build(recipe_of("prefix-tuning", "deberta-v2"))
    with pytest.raises(UserError, match=r"prefix-tuning cannot be attached to a deberta-v2 model: .+") as error:
        method.attach(base, STEPS)
    assert "\n" not in str(error.value)


def test_adapters_load_with_peft_alone(recipe_of: Any, tmp_path: Path) -> None:
    """Every adapter but ours is peft's own format: its configuration names a tuner that peft knows."""
    for name in ("head", "bitfit", "lora", "adalora", "prefix-tuning"):
        _, method, base = build(recipe_of(name))
        method.save(method.attach(base, STEPS), tmp_path / name)
        kind = json.loads((tmp_path / name / "adapter_config.json").read_text())["peft_type"]
        assert kind in ("LORA", "ADALORA", "PREFIX_TUNING")
