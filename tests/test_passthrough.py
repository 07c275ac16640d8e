"""peft's tuners under their own words: fields from the data file, sizes that fit the layers, plain refusals."""

from __future__ import annotations

import dataclasses
import json
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from peftkit.adapters import OWN, REFUSED, Passthrough
from peftkit.adapters.fields import FILE, describe
from peftkit.capabilities import setting_aside
from peftkit.errors import RecipeErrors, UserError
from peftkit.methods import METHODS
from peftkit.model.preparing import prepare
from peftkit.recipe import check
from tests.test_methods import SETTINGS, STEPS, build, logits, train

PASSED = {name: method for name, method in METHODS.items() if issubclass(method, Passthrough)}
NO_CONV1D = ["loha", "lokr", "oft", "boft", "hra", "c3a", "shira", "road", "miss", "delora", "peanut", "psoft"]
"""Refused on GPT-2 by peft (a subset; the layers there are Conv1D)."""


def attached(recipe: Any) -> tuple[Any, Any]:
    _, method, base = build(recipe)
    return method, method.attach(base, STEPS)


def test_the_file_of_fields_is_that_of_the_installed_peft() -> None:
    assert json.loads(FILE.read_text()) == describe(), "run python -m peftkit.adapters.fields"


@pytest.mark.parametrize("name", PASSED)
def test_settings_are_the_fields_of_pefts_config(name: str) -> None:
    from peft import PeftConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    method: Any = PASSED[name]
    theirs = {field.name for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[method.peft_type])}
    shared = {field.name for field in dataclasses.fields(PeftConfig)}
    assert {*method.settings_class.model_fields} == (theirs - shared - {*OWN}) | {"name"}
    assert name == method.name == method.settings_class().name


def test_every_recipe_survives_yaml_and_the_way_to_another_process(recipe_of: Any) -> None:
    from ruamel.yaml import YAML

    for name in METHODS:
        recipe = recipe_of(SETTINGS.get(name, name))
        assert pickle.loads(pickle.dumps(recipe)) == recipe
        assert check(YAML(typ="safe").load(recipe.to_yaml()), {}) == recipe


@pytest.mark.parametrize(
    "method, told",
    [
        ({"name": "vera", "d_inital": 0.2}, r"unknown key, did you mean d_initial\?"),
        ({"name": "vera", "modules_to_save": ["x"]}, "unknown key"),
        ({"name": "loha", "r": 0}, "greater than 0"),
        ({"name": "loha", "r": 4.0}, "a whole number"),
        ({"name": "vera", "vera_dropout": 1.0}, "less than 1"),
        ({"name": "boft", "bias": "boft_onl"}, r"did you mean boft_only\?"),
        ({"name": "road", "variant": "road_3"}, "road_1"),
        ({"name": "prompt-tuning", "num_virtual_tokens": 0}, "greater than 0"),
    ],
)
def test_what_peft_would_take_or_tell_late_is_refused_in_the_recipe(method: Any, told: str, recipe_of: Any) -> None:
    with pytest.raises(RecipeErrors, match=told):
        recipe_of(method)


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantized_base_is_refused_where_peft_takes_packed_integers_for_weights(bits: str, recipe_of: Any) -> None:
    with pytest.raises(RecipeErrors, match=r"method hra fails or goes wrong on a base in . bits; use one of .*lora"):
        recipe_of("hra", quantization=bits)


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("c3a", {"block_size": 32}),
        ("vblora", {"r": 4, "vector_length": 32}),
        ("fourierft", {"n_frequency": 1000}),
        ("waveft", {"n_frequency": 32 * 32}),
        ("road", {"group_size": 32}),
        ("miss", {"r": 32}),
        ("psoft", {"r": 32}),
        ("shira", {"r": 16}),
        ("oft", {"oft_block_size": 32, "r": 0}),
        ("boft", {"boft_block_size": 4, "boft_block_num": 0}),
    ],
)
def test_sizes_are_the_largest_that_fit_up_to_pefts_own(name: str, sizes: dict[str, int], recipe_of: Any) -> None:
    """The toy's targeted layers are 32 x 32; peft's defaults are 256, 256, 1000, 2592, 64, 64, 32, 32, 32 and 4."""
    method, model = attached(recipe_of(name))
    assert method.reach(model)["sizes"] == sizes


@pytest.mark.parametrize(
    "method, told",
    [
        ({"name": "c3a", "block_size": 7}, r"block_size=7 does not fit .*32x32.*what fits: 1, 2, 4, 8, 16, 32$"),
        ({"name": "loha", "r": 33}, r"r=33 does not fit .*what fits: 1 to 32$"),
        ({"name": "fourierft", "n_frequency": 1025}, r"what fits: 1 to 1024$"),
        ({"name": "road", "group_size": 6}, r"what fits: 2, 4, 8, 16, 32$"),
        ({"name": "vblora", "vector_length": 64}, r"vector_length=64 does not fit"),
        ({"name": "oft", "oft_block_size": 48}, r"what fits: 2, 4, 8, 16, 32$"),
        ({"name": "boft", "boft_block_num": 5}, r"boft_block_num=5 does not fit"),
        ({"name": "hra", "r": 40, "target_modules": "all-linear"}, r"32x32, 32x64, 64x32.*what fits: 1 to 32$"),
    ],
)
def test_a_size_that_does_not_fit_names_those_that_do(method: Any, told: str, recipe_of: Any) -> None:
    with pytest.raises(UserError, match=told) as error:
        attached(recipe_of(method))
    assert "\n" not in str(error.value)


def test_a_number_of_blocks_takes_the_place_of_their_size(recipe_of: Any) -> None:
    _, model = attached(recipe_of({"name": "oft", "r": 4}))
    assert {tuple(p.shape) for n, p in model.named_parameters() if "oft_R" in n} == {(4, 8 * 7 // 2)}
    _, model = attached(recipe_of({"name": "boft", "boft_block_num": 2}))
    assert {tuple(p.shape) for n, p in model.named_parameters() if "boft_R" in n} == {(1, 2, 16, 16)}


def test_ln_tuning_finds_every_norm(recipe_of: Any) -> None:
    for kind, norms, width in (("bert", 5, 64), ("llama", 5, 32), ("deberta-v2", 6, 64)):
        method, model = attached(recipe_of("ln-tuning", kind))
        assert len(method.reach(model)["targeted_modules"]) in (norms, 5), kind
        trained = [p.numel() for n, p in model.named_parameters() if p.requires_grad and "norm" in n.lower()]
        assert sum(trained) == width * len(method.reach(model)["targeted_modules"]), kind


@pytest.mark.parametrize("name", ["prompt-tuning", "p-tuning"])
@setting_aside()
def test_virtual_tokens_are_refused_where_peft_would_go_wrong_silently(name: str, recipe_of: Any) -> None:
    for kind in ("gpt2", "llama"):
        with pytest.raises(UserError, match=rf"{name} cannot be attached to a {kind} model .*padding.*lora would work"):
            attached(recipe_of(name, kind))
    _, method, base = build(recipe_of(name))
    for task in ("TOKEN_CLS", "QUESTION_ANS", None):
        with pytest.raises(UserError, match="shifted by the virtual ones"):
            method.attach(dataclasses.replace(base, peft_task_type=task), STEPS)
    assert method.virtual_tokens() == 20


def test_prompt_tuning_may_start_from_a_text(recipe_of: Any) -> None:
    settings = {"name": "prompt-tuning", "prompt_tuning_init": "TEXT", "num_virtual_tokens": 4}
    with pytest.raises(UserError, match="go together"):
        attached(recipe_of(settings))
    _, model = attached(recipe_of(settings | {"prompt_tuning_init_text": "word1 word2"}))
    words = model.get_input_embeddings().weight
    prompt = model.prompt_encoder["default"].embedding.weight
    assert all(any(torch.equal(vector, word) for word in words) for vector in prompt)


@pytest.mark.parametrize("name", NO_CONV1D)
@setting_aside()
def test_gpt2s_layers_are_refused_in_one_line(name: str, recipe_of: Any) -> None:
    with pytest.raises(UserError, match=rf"{name} cannot be attached to a gpt2 model: .*(Conv1D|support)") as error:
        attached(recipe_of(name, "gpt2"))
    assert "\n" not in str(error.value)


@setting_aside()
def test_a_tuner_that_reaches_nothing_is_refused(recipe_of: Any) -> None:
    with pytest.raises(UserError, match="osf finds nothing to train in a gpt2 model"):
        attached(recipe_of("osf", "gpt2"))


@pytest.mark.parametrize("name", random.Random(4).sample(sorted(set(PASSED) - {"prompt-tuning", "p-tuning"}), 5))
def test_on_another_architecture_it_trains_and_loads_too(name: str, recipe_of: Any, tmp_path: Path) -> None:
    """A seeded sample on Llama."""
    recipe = recipe_of(name, "llama")
    method, model = attached(recipe)
    losses = train(prepare(model, recipe.training), method)
    assert min(losses[-3:]) < losses[0] - 0.05
    method.save(model, tmp_path)
    _, _, fresh = build(recipe, seed=7)
    torch.testing.assert_close(logits(method.load(fresh, tmp_path)), logits(model), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["boft", "vera"])
def test_trained_biases_are_saved(name: str, recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of({"name": name, "bias": "all"})
    method, model = attached(recipe)
    train(prepare(model, recipe.training), method)
    method.save(model, tmp_path)
    _, _, fresh = build(recipe, seed=7)
    torch.testing.assert_close(logits(method.load(fresh, tmp_path)), logits(model), atol=2e-6, rtol=0)


def test_p_tuning_saves_what_it_computes_under_autocast(recipe_of: Any, tmp_path: Path) -> None:
    method, model = attached(recipe_of("p-tuning"))
    method.save(model, tmp_path)
    loaded = method.load(build(recipe_of("p-tuning"))[2], tmp_path)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loaded.get_prompt(2), model.get_prompt(2), atol=0, rtol=0)


STRANGER = """
from dataclasses import dataclass, field
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.ia3 import IA3Config, IA3Model
from peft.utils import PeftType, register_peft_method
from peftkit.tuners import _add_peft_type

@dataclass
class StrangeConfig(IA3Config):
    strangeness: int = field(default=1)
    def __post_init__(self):
        super().__post_init__()
        self.peft_type = PeftType.STRANGE
        if self.strangeness < 0:
            raise ValueError("strangeness must not be negative")

class StrangeModel(IA3Model):
    prefix = "strange_"

if "STRANGE" not in PeftType.__members__:
    _add_peft_type("STRANGE")
if "STRANGE" not in PEFT_TYPE_TO_TUNER_MAPPING:
    StrangeModel.prefix = IA3Model.prefix
    PEFT_TYPE_TO_TUNER_MAPPING[PeftType.STRANGE] = StrangeModel
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING
    PEFT_TYPE_TO_CONFIG_MAPPING[PeftType.STRANGE] = StrangeConfig
    PEFT_TYPE_TO_PREFIX_MAPPING[PeftType.STRANGE] = IA3Model.prefix
"""


class TestRegistered:
    """``method: peft``: a tuner of another package."""

    @pytest.fixture
    def stranger(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        (tmp_path / "strange_package.py").write_text(STRANGER)
        (tmp_path / "broken_package.py").write_text("raise OSError('no such device')")
        monkeypatch.syspath_prepend(tmp_path)
        yield {"name": "peft", "peft_type": "STRANGE", "package": "strange_package"}
        sys.modules.pop("strange_package", None)

    def test_trains_and_loads_in_a_fresh_base(self, stranger: Any, recipe_of: Any, tmp_path: Path) -> None:
        recipe = recipe_of(
            stranger | {"fields": {"strangeness": 2, "target_modules": ["key"], "feedforward_modules": []}}
        )
        method, model = attached(recipe)
        assert model.peft_config["default"].strangeness == 2
        assert len(method.reach(model)["targeted_modules"]) == 2
        losses = train(prepare(model, recipe.training), method)
        assert min(losses[-3:]) < losses[0] - 0.05
        method.save(model, tmp_path / "saved")
        _, fresh_method, fresh = build(recipe, seed=3)
        torch.testing.assert_close(
            logits(fresh_method.load(fresh, tmp_path / "saved")), logits(model), atol=2e-6, rtol=0
        )

    def test_a_type_that_fails_on_a_quantized_base_does_so_under_any_name(self, recipe_of: Any) -> None:
        with pytest.raises(UserError, match=r"^HRA .* in 8 bits; use quantization: none$"):
            attached(recipe_of({"name": "peft", "peft_type": "HRA"}, quantization="8bit"))

    @pytest.mark.parametrize(
        "change, told",
        [
            ({"package": "no_such_package"}, r"package 'no_such_package' cannot be imported: ModuleNotFoundError"),
            ({"package": "broken_package"}, r"'broken_package' cannot be imported: OSError: no such device"),
            ({"peft_type": "STRANG"}, r"strange_package registers no tuner .*'STRANG', did you mean STRANGE\?"),
            ({"fields": {"strangness": 2}}, r"no field 'strangness', did you mean strangeness\?"),
            ({"fields": {"inference_mode": True}}, r"peftkit sets inference_mode itself"),
            ({"fields": {"modules_to_save": ["x"]}}, r"peftkit sets modules_to_save itself"),
            ({"fields": {"strangeness": -1}}, r"strangeness must not be negative"),
            ({"fields": {"target_modules": ["kay"]}}, r"'kay' matches no module .*did you mean key\?"),
            ({"package": None, "peft_type": "PROMPT_TUNING"}, "a task has to know of; use prompt-tuning"),
            ({"package": None, "peft_type": "MULTITASK_PROMPT_TUNING"}, "a recipe has one task; use prompt-tuning"),
            ({"package": None, "peft_type": "TRAINABLE_TOKENS", "fields": {}}, "leaves the task's head out"),
        ],
    )
    def test_every_mistake_is_one_line(self, change: Any, told: str, stranger: Any, recipe_of: Any) -> None:
        recipe_of(stranger)  # fields and package are looked at when attaching, not when the recipe is read
        with pytest.raises(UserError, match=told) as error:
            attached(recipe_of(stranger | change))
        assert "\n" not in str(error.value)


class TestWhatIsNoMethod:
    """Tuners of peft that have no entry say why, and what works instead."""

    def test_every_tuner_of_the_installed_peft_is_a_method_or_says_why_not(self) -> None:
        own = {getattr(method, "peft_type", None) for method in METHODS.values()}
        kinds = {*json.loads(FILE.read_text())["tuners"]} - own
        through_another = {"TRAINABLE_TOKENS": "trainable-tokens"}
        assert {kind.lower().replace("_", "-") for kind in kinds - {*through_another}} == {*REFUSED}
        assert {*through_another.values()} <= {*METHODS} and not {*REFUSED} & {*METHODS}

    @pytest.mark.parametrize("name", REFUSED)
    def test_it_is_told_in_a_line_that_names_what_works(self, name: str, recipe_of: Any) -> None:
        for spelled in (name, name.upper().replace("-", "_")):
            with pytest.raises(RecipeErrors, match=rf"method: {name} is no method here: .*; use [\w-]+$") as error:
                recipe_of(spelled)
            assert "\n" not in str(error.value)
        assert REFUSED[name].rpartition(" ")[2] in METHODS

    def test_under_another_name_it_is_none_either(self, recipe_of: Any) -> None:
        with pytest.raises(UserError, match="xlora is no method here"):
            attached(recipe_of({"name": "peft", "peft_type": "XLORA"}))


class TestTrainableTokens:
    def test_only_the_chosen_rows_move(self, recipe_of: Any) -> None:
        recipe = recipe_of({"name": "trainable-tokens", "token_indices": [5, 7]})
        method, model = attached(recipe)
        before = model.get_input_embeddings()(torch.arange(65)).detach().clone()
        train(prepare(model, recipe.training), method)
        moved = (model.get_input_embeddings()(torch.arange(65)) != before).any(dim=1)
        assert moved.nonzero().flatten().tolist() == [5, 7]

    @pytest.mark.parametrize(
        "tokens, told", [([5, 5], "token 5 is given twice"), ([65], "no token 65: the model has 65, 0 to 64")]
    )
    def test_tokens_that_cannot_be_are_told(self, tokens: list[int], told: str, recipe_of: Any) -> None:
        with pytest.raises(UserError, match=told):
            attached(recipe_of({"name": "trainable-tokens", "token_indices": tokens}))
