"""Two methods on one model: which go together, and that each does in a mixture what it does alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import peftkit
from peftkit.errors import PeftkitError, UserError
from peftkit.interop.card import card_of
from peftkit.interop.exporting import export_lora
from peftkit.interop.merging import merge
from peftkit.interop.switching import Adapters
from peftkit.mixtures import Mixture
from peftkit.mixtures.pairs import TRIED
from peftkit.model.preparing import prepare
from peftkit.output import RECIPE_FILE
from peftkit.recipe import check
from peftkit.recipe.reading import parse_yaml
from tests.test_methods import STEPS, build, logits, train

APART = {("bitfit", "ln-tuning"), ("adalora", "lora"), ("prefix-tuning", "prompt-tuning")} | {
    (prompts, "trainable-tokens") for prompts in ("prefix-tuning", "prompt-tuning")
}
"""Pairs that do not go together, each in alphabetical order."""
TOGETHER = [pair for pair in itertools.combinations(TRIED, 2) if tuple(sorted(pair)) not in APART]
QUANTIZED = [
    ("lora", "bitfit"),
    ("bottleneck", "bitfit"),
    ("lora", "prefix-tuning"),
    ("lora", "ia3"),
    ("oft", "lora"),
    ("lora", "vera"),
    ("adalora", "ln-tuning"),
    ("bottleneck", "miss"),
    ("lora", "trainable-tokens"),
]
SETTINGS = {"trainable-tokens": {"name": "trainable-tokens", "token_indices": [7, 8, 20]}}
"""Methods that need to be told more than their name."""
CASES = [(*pair, "none") for pair in TOGETHER] + [(*pair, bits) for pair in QUANTIZED for bits in ("4bit", "8bit")]
CASES.remove(("lora", "vera", "8bit"))  # refused


def trained(recipe: Any) -> tuple[Any, Any]:
    """The method and its model after some steps of training."""
    _, method, base = build(recipe)
    model = prepare(method.attach(base, STEPS), recipe.training)
    train(model, method)
    return method, model


def trainable(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("first, second, bits", CASES)
def test_trains_what_its_parts_say_and_loads_again(
    first: str, second: str, bits: str, recipe_of: Any, tmp_path: Path
) -> None:
    alone, head = [], 0
    for name in (first, second):
        _, method, base = build(recipe_of(SETTINGS.get(name, name), quantization=bits))
        alone.append(trainable(method.attach(base, STEPS)))
        head = sum(
            p.numel()
            for part in base.head
            for p in build(recipe_of(SETTINGS.get(name, name)))[2].model.get_submodule(part).parameters()
        )
    recipe = recipe_of([SETTINGS.get(name, name) for name in (first, second)], quantization=bits)
    _, method, base = build(recipe)
    model = prepare(method.attach(base, STEPS), recipe.training)
    assert trainable(model) == sum(alone) - head  # the head is trained once
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    losses = train(model, method)
    assert min(losses[-3:]) < losses[0] - 0.05, losses
    for key, parameter in model.named_parameters():
        assert (not torch.equal(parameter, before[key])) == parameter.requires_grad, key
    method.save(model, tmp_path)
    _, again, fresh = build(recipe, seed=99)
    torch.testing.assert_close(logits(again.load(fresh, tmp_path)), logits(model), atol=2e-6, rtol=0)


@pytest.mark.parametrize("listed", [("lora", "bottleneck"), ("bitfit", "lora"), ("ia3", "oft"), ("vera", "adalora")])
def test_starts_as_the_base_whatever_the_order_of_the_list(listed: tuple[str, str], recipe_of: Any) -> None:
    for names in (listed, listed[::-1]):
        _, method, base = build(recipe_of([*names]))
        plain = logits(base.model)
        torch.testing.assert_close(logits(method.attach(base, STEPS)), plain, atol=1e-6, rtol=0)


def test_parts_are_ordinary_adapters_that_peft_alone_loads_in_order(recipe_of: Any, tmp_path: Path) -> None:
    from peft import PeftModel

    for listed in (["lora", "bitfit"], ["prefix-tuning", "lora"], ["oft", "ia3"], ["trainable-tokens", "lora"]):
        recipe = recipe_of([SETTINGS.get(name, name) for name in listed])
        folder = tmp_path / "+".join(listed)
        method, model = trained(recipe)
        method.save(model, folder)
        _, _, fresh = build(recipe, seed=5)
        parts = sorted((folder / "parts").iterdir())
        assert sorted(part.name[2:] for part in parts) == sorted(listed)
        for part in parts:
            attached = PeftModel.from_pretrained(fresh.model, str(part))
        torch.testing.assert_close(logits(attached), logits(model), atol=2e-6, rtol=0)


def test_the_head_and_every_tensor_is_saved_exactly_once(recipe_of: Any, tmp_path: Path) -> None:
    method, model = trained(recipe_of(["lora", "bitfit"]))
    method.save(model, tmp_path)
    files = [load_file(file) for file in sorted(tmp_path.rglob("*.safetensors"))]
    saved = sum(tensor.numel() for tensors in files for tensor in tensors.values())
    assert saved == trainable(model)
    assert [any("classifier" in name for name in tensors) for tensors in files] == [False, True]
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize("targets", ["all-linear", ["dense", "query", "key"], ".*(query|dense)"])
def test_targets_are_matched_with_the_base_as_it_was_loaded(targets: Any, recipe_of: Any) -> None:
    """A pattern that fits the inner layers of the other adapter, or of the head's copies, does not reach them."""
    lora = {"name": "lora", "target_modules": targets}
    _, method, base = build(recipe_of(lora))
    alone = method.reach(method.attach(base, STEPS))["targeted_modules"]
    for other in ("bottleneck", "oft"):
        _, method, base = build(recipe_of([other, lora]))
        model = method.attach(base, STEPS)
        reach = method.reach(model)
        (reached,) = [
            part.model.base_model.targeted_module_names
            for part in model.peftkit_parts
            if part.method.settings.name == "lora"
        ]
        assert sorted(reached) == alone
        assert 0 < reach["targeted_parameter_share"] <= 1 and 0 < reach["targeted_linear_share"] <= 1
        assert set(reach["targets_by_pattern"]) == {other, "lora"}
        assert set(alone) <= set(reach["targeted_modules"])


@pytest.mark.parametrize(
    "listed, bits",
    [
        (["lora", "oft"], "none"),
        (["oft", "miss"], "none"),
        (["ia3", "lora"], "4bit"),
        (["vera", "lora"], "none"),
        (["lora", "ln-tuning"], "none"),
        (["lora", "bitfit"], "4bit"),
        (["trainable-tokens", "lora"], "none"),
    ],
)
def test_merged_it_computes_what_it_computed(listed: list[str], bits: str, recipe_of: Any, tmp_path: Path) -> None:
    """By the order in which one layer lies in the other; a merged model is read back by transformers alone."""
    recipe = recipe_of([SETTINGS.get(name, name) for name in listed], quantization=bits, **{"training.max_steps": 4})
    peftkit.run(recipe, tmp_path / "run")
    report = merge(tmp_path / "run", tmp_path / "merged")
    assert report["exact"] and report["logit_difference"] < 1e-5
    assert [part["name"] for part in report["method"]] == listed


def test_what_takes_one_adapter_alone_says_so(recipe_of: Any, tmp_path: Path) -> None:
    peftkit.run(recipe_of(["bottleneck", "bitfit"], **{"training.max_steps": 2}), tmp_path / "run")
    with pytest.raises(
        UserError, match=r"bottleneck\+bitfit cannot be merged into the base's weights; those that can: "
    ):
        merge(tmp_path / "run", tmp_path / "merged")
    with pytest.raises(UserError, match=r"bottleneck\+bitfit is kept as two adapters"):
        export_lora(tmp_path / "run", tmp_path / "lora")
    with pytest.raises(UserError, match="only adapters can share a base"):
        Adapters([tmp_path / "run", tmp_path / "run"])


def test_its_cards_code_loads_it_with_peft(recipe_of: Any, toys: Any, tmp_path: Path) -> None:
    peftkit.run(recipe_of(["lora", "bottleneck"], quantization="4bit", **{"training.max_steps": 4}), tmp_path / "run")
    card = card_of(tmp_path / "run")
    assert "library_name: peft" in card and "- lora\n- bottleneck\n" in card
    names: dict[str, Any] = {"folder": str(tmp_path / "run")}
    exec(card.partition("```python\n")[2].partition("```")[0].replace("base = ...", f"base = {str(toys())!r}"), names)
    again = peftkit.load(tmp_path / "run").model
    torch.testing.assert_close(logits(names["model"]), logits(again), atol=2e-6, rtol=0)


def test_a_mistake_that_the_model_shows_names_the_part(recipe_of: Any) -> None:
    recipe = recipe_of(["bitfit", {"name": "lora", "target_modules": ["querry"]}])
    _, method, base = build(recipe)
    with pytest.raises(UserError, match="did you mean query") as error:
        method.attach(base, STEPS)
    assert error.value.key == ("method", 1, "target_modules")


def test_a_part_that_is_missing_or_cut_off_is_an_error(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of(["lora", "bitfit"])
    method, model = trained(recipe)
    method.save(model, tmp_path)
    (tmp_path / "parts" / "2-lora" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no adapter_model\.safetensors"):
        method.load(build(recipe)[2], tmp_path)


@pytest.mark.parametrize("listed", [["bottleneck", "bitfit"], ["lora", "prefix-tuning"]])
def test_a_whole_run_is_loaded_again_and_predicts_the_same(listed: list[str], recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of(listed, **{"training.epochs": 1})
    record = peftkit.run(recipe, tmp_path / "run")
    assert (record.status, record.title) == ("ok", " + ".join(listed))
    assert record.method["checked_after_steps"] == 3
    assert record.costs["adapter_bytes"] > 0
    again = peftkit.load(tmp_path / "run")
    rows = [json.loads(line) for line in (Path(recipe.data.source) / "test.jsonl").read_text().splitlines()]
    one = again.predict([row["text"] for row in rows])
    assert one == peftkit.load(tmp_path / "run").predict([row["text"] for row in rows])
    assert again.evaluate("test").scores == pytest.approx(record.scores)
    assert check(*parse_yaml((tmp_path / "run" / RECIPE_FILE).read_text(), "run")) == recipe
    assert peftkit.run(recipe, tmp_path / "run", overwrite=True).status == "ok"


def test_a_part_that_never_moves_ends_the_run(recipe_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    attach = Mixture.attach

    def cut_off(self: Mixture, base: Any, total_steps: int) -> Any:
        model = attach(self, base, total_steps)
        for name, module in model.named_modules():
            if name.endswith("bottleneck_up.default"):
                module.register_forward_hook(lambda module, inputs, output: output.detach())
        return model

    monkeypatch.setattr(Mixture, "attach", cut_off)
    with pytest.raises(PeftkitError, match="no gradient has reached it"):
        peftkit.run(recipe_of(["bottleneck", "lora"], **{"training.max_steps": 4}))
