"""A checkpoint that was saved quantized trains as it is, and is refused in one line where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import peftkit
from peftkit.errors import UserError
from peftkit.rehearsal import rehearse
from tests.conftest import save_toy

SHORT = {"training.max_steps": 6, "training.eval_strategy": "no"}


def save_quantized(folder: Path, bits: int, kind: str, auto_class: str, **settings: Any) -> Path:
    """A toy saved in 8 or 4 bits, with its tokenizer, in `folder`."""
    import transformers

    from peftkit.model.quantizing import keep_trainable_on_cpu

    keep_trainable_on_cpu()
    source = save_toy(folder / "source", kind, auto_class=auto_class)
    how = {"load_in_8bit": True} if bits == 8 else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    config = transformers.BitsAndBytesConfig(**how, **settings)
    model = getattr(transformers, auto_class).from_pretrained(source, quantization_config=config, device_map="cpu")
    model.save_pretrained(folder / "saved")
    for file in source.glob("tokenizer*"):
        (folder / "saved" / file.name).write_bytes(file.read_bytes())
    return folder / "saved"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``saved(4, "bert")``: the folder of a quantized toy without a head, made once."""
    made: dict[Any, Path] = {}

    def toy(bits: int, kind: str = "bert", auto_class: str = "AutoModel", **settings: Any) -> Path:
        key = (bits, kind, auto_class, json.dumps(settings))
        if key not in made:
            made[key] = save_quantized(tmp_path_factory.mktemp(kind), bits, kind, auto_class, **settings)
        return made[key]

    return toy


def on(recipe: Any, folder: Path) -> Any:
    """The recipe over another model."""
    return peftkit.Recipe.model_validate(recipe.given() | {"model": {"name": str(folder)}})


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["head", "lora", "bottleneck", "prefix-tuning"])
def test_it_trains_is_saved_and_is_loaded_again(
    name: str, bits: int, saved: Any, recipe_of: Any, tmp_path: Path
) -> None:
    record = peftkit.run(on(recipe_of(name, **SHORT), saved(bits)), tmp_path / "run")
    assert (record.status, record.method["base_bits"], record.method["unmoved"]) == ("ok", bits, [])
    assert peftkit.load(tmp_path / "run").evaluate("test").scores == pytest.approx(record.scores, rel=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ["deberta-v2", "gpt2"])
def test_new_heads_of_any_name_stay_in_full_precision(bits: int, kind: str, saved: Any, recipe_of: Any) -> None:
    from tests.test_methods import build

    base = build(on(recipe_of("lora"), saved(bits, kind)))[2]
    assert base.bits == bits
    for part in base.head:
        assert all(p.dtype == torch.float32 for p in base.model.get_submodule(part).parameters())
    assert any(not p.is_floating_point() for p in base.model.parameters())


@pytest.mark.parametrize("bits", [8, 4])
def test_its_weights_are_those_of_the_checkpoint(bits: int, saved: Any, recipe_of: Any) -> None:
    import transformers

    from tests.test_methods import batch, build

    base = build(on(recipe_of("lora"), saved(bits, "llama", "AutoModelForCausalLM")))[2].model
    again = transformers.AutoModel.from_pretrained(saved(bits, "llama", "AutoModelForCausalLM"))
    with torch.no_grad():
        torch.testing.assert_close(
            base.get_submodule("model")(**batch()).last_hidden_state, again(**batch()).last_hidden_state
        )


@pytest.mark.parametrize(
    "bits, method, quantization, told",
    [
        (4, "full", None, "already quantized to 4 bits, and method full trains the base itself; use one of .*lora"),
        (4, "lora", "8bit", "quantization: the recipe says 8bit, but .* is already quantized, as 4bit nf4; leave"),
        (8, "lora", "4bit", "the recipe says 4bit nf4, but .* is already quantized, as 8bit"),
        (4, "lora", "none", "the recipe says none, but .* is already quantized, as 4bit nf4"),
        (4, "lora", {"bits": 4, "double": True}, "the recipe says 4bit nf4 double, but"),
    ],
)
def test_what_does_not_agree_with_it_is_refused(
    bits: int, method: str, quantization: Any, told: str, saved: Any, recipe_of: Any
) -> None:
    given = {} if quantization is None else {"quantization": quantization}
    recipe = on(recipe_of(method, **SHORT, **given), saved(bits))
    for attempt in (peftkit.run, rehearse):
        with pytest.raises(UserError, match=told) as error:
            attempt(recipe)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("bits", [8, 4])
def test_what_agrees_with_it_may_be_said(bits: int, saved: Any, recipe_of: Any) -> None:
    recipe = on(recipe_of("lora", quantization=f"{bits}bit", **SHORT), saved(bits))
    assert peftkit.run(recipe).method["base_bits"] == bits


def test_products_in_half_precision_are_the_checkpoints_own(saved: Any, recipe_of: Any) -> None:
    with pytest.raises(UserError, match="method bitfit needs a base whose weights and products are in float32"):
        peftkit.run(on(recipe_of("bitfit", **SHORT), saved(4, bnb_4bit_compute_dtype="bfloat16")))


@pytest.mark.parametrize("bits", [8, 4])
def test_a_head_that_is_quantized_is_refused(bits: int, saved: Any, recipe_of: Any) -> None:
    folder = saved(bits, auto_class="AutoModelForSequenceClassification")
    with pytest.raises(UserError, match="holds the head's classifier quantized, and a head is trained in full prec"):
        peftkit.run(on(recipe_of("lora", **SHORT), folder))
    spared = saved(bits, auto_class="AutoModelForSequenceClassification", llm_int8_skip_modules=["classifier"])
    assert peftkit.run(on(recipe_of("lora", **SHORT), spared)).status == "ok"


def test_other_libraries_formats_are_refused(toys: Any, recipe_of: Any, tmp_path: Path) -> None:
    for file in toys().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(UserError, match="is quantized by gptq; peftkit trains on bitsandbytes' 8 and 4 bits only"):
        peftkit.run(on(recipe_of("lora", **SHORT), tmp_path))
