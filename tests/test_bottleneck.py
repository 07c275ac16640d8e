"""Bottleneck adapters on toy models of every architecture in the placement table, and what peft does with them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers as hf
from peft import PeftModel, get_peft_model, prepare_model_for_kbit_training
from peft.utils import PeftType
from torch import nn

import peftkit.tuners
from peftkit.tuners import BottleneckConfig, BottleneckLayer
from peftkit.tuners.bottleneck.placement import PLACEMENTS, default_targets, search, walk

HIDDEN, LAYERS, VOCAB = 32, 2, 100
VARIANTS = ("houlsby", "pfeiffer", "parallel")
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BERT = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
LLAMA = {**BERT, **TOKENS, "num_key_value_heads": 2, "head_dim": 16}
T5 = {"vocab_size": VOCAB, "d_model": HIDDEN, "d_kv": 16, "d_ff": 64, "num_layers": LAYERS, "num_heads": 2}
BART = {
    "vocab_size": VOCAB,
    "d_model": HIDDEN,
    "max_position_embeddings": 40,
    **{f"{side}_layers": LAYERS for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
}


class Case(NamedTuple):
    """A toy model: its class and config, the head to train, and the adapters that houlsby / the others make of it."""

    model: type[Any]
    config: Callable[[], Any]
    head: list[str]
    sites: tuple[int, int]


CASES = {
    "bert": Case(hf.BertForSequenceClassification, lambda: hf.BertConfig(**BERT), ["classifier"], (4, 2)),
    "roberta": Case(hf.RobertaForSequenceClassification, lambda: hf.RobertaConfig(**BERT), ["classifier"], (4, 2)),
    "distilbert": Case(
        hf.DistilBertForSequenceClassification,
        lambda: hf.DistilBertConfig(vocab_size=VOCAB, dim=HIDDEN, n_layers=LAYERS, n_heads=2, hidden_dim=64),
        ["pre_classifier", "classifier"],
        (4, 2),
    ),
    "deberta-v2": Case(
        hf.DebertaV2ForSequenceClassification,
        lambda: hf.DebertaV2Config(**BERT, relative_attention=True, pos_att_type=["p2c", "c2p"]),
        ["pooler", "classifier"],
        (4, 2),
    ),
    "modernbert": Case(
        hf.ModernBertForSequenceClassification,
        lambda: hf.ModernBertConfig(**BERT, **TOKENS, cls_token_id=1, sep_token_id=2),
        ["head", "classifier"],
        (4, 2),
    ),
    "gpt2": Case(
        hf.GPT2LMHeadModel,
        lambda: hf.GPT2Config(vocab_size=VOCAB, n_embd=HIDDEN, n_layer=LAYERS, n_head=2, **TOKENS),
        [],
        (4, 2),
    ),
    "llama": Case(hf.LlamaForCausalLM, lambda: hf.LlamaConfig(**LLAMA), [], (4, 2)),
    "llama-classifier": Case(hf.LlamaForSequenceClassification, lambda: hf.LlamaConfig(**LLAMA), ["score"], (4, 2)),
    "qwen3": Case(hf.Qwen3ForCausalLM, lambda: hf.Qwen3Config(**LLAMA), [], (4, 2)),
    "gemma3": Case(hf.Gemma3ForCausalLM, lambda: hf.Gemma3TextConfig(**LLAMA), [], (4, 2)),
    # encoder: self-attention and feed-forward; decoder: cross-attention too
    "t5": Case(hf.T5ForConditionalGeneration, lambda: hf.T5Config(**T5, decoder_start_token_id=0), [], (10, 4)),
    "t5-gated": Case(
        hf.T5ForConditionalGeneration,
        lambda: hf.T5Config(**T5, decoder_start_token_id=0, feed_forward_proj="gated-gelu"),
        [],
        (10, 4),
    ),
    "bart": Case(hf.BartForConditionalGeneration, lambda: hf.BartConfig(**BART), [], (10, 4)),
    "bart-classifier": Case(
        hf.BartForSequenceClassification, lambda: hf.BartConfig(**BART), ["classification_head"], (10, 4)
    ),
    "vit": Case(
        hf.ViTForImageClassification, lambda: hf.ViTConfig(**BERT, image_size=16, patch_size=8), ["classifier"], (4, 2)
    ),
}
# Not in the table: found by the search.
UNLISTED = {
    "albert": Case(
        hf.AlbertForSequenceClassification, lambda: hf.AlbertConfig(**BERT, embedding_size=16), ["classifier"], (2, 1)
    ),
    "opt": Case(
        hf.OPTForCausalLM,
        lambda: hf.OPTConfig(
            vocab_size=VOCAB,
            hidden_size=HIDDEN,
            word_embed_proj_dim=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            ffn_dim=64,
            **TOKENS,
        ),
        [],
        (4, 2),
    ),
    "gpt_neox": Case(hf.GPTNeoXForCausalLM, lambda: hf.GPTNeoXConfig(**BERT, **TOKENS), [], (4, 2)),
    "phi3": Case(
        hf.Phi3ForCausalLM, lambda: hf.Phi3Config(**{k: v for k, v in LLAMA.items() if k != "head_dim"}), [], (4, 2)
    ),
    "mixtral": Case(
        hf.MixtralForCausalLM, lambda: hf.MixtralConfig(**LLAMA, num_local_experts=2, num_experts_per_tok=1), [], (4, 2)
    ),
}
ALL = {**CASES, **UNLISTED}
each_case = pytest.mark.parametrize("name", ALL)
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def build(name: str, head_seed: int = 0) -> Any:
    """The toy model, the same at every call but for its head, which depends on `head_seed`."""
    torch.manual_seed(0)
    model = ALL[name].model(ALL[name].config())
    torch.manual_seed(1 + head_seed)
    for head in ALL[name].head:
        for parameter in model.get_submodule(head).parameters():
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


def configure(name: str, variant: str, **fields: Any) -> BottleneckConfig:
    fields = {"reduction_factor": 4, "modules_to_save": ALL[name].head or None, **fields}
    return BottleneckConfig(variant=variant, **fields)


def batch(name: str) -> dict[str, torch.Tensor]:
    """Two examples with labels; for generation the labels are the tokens."""
    generator = torch.Generator().manual_seed(3)
    if name == "vit":
        return {"pixel_values": torch.randn(2, 3, 16, 16, generator=generator), "labels": torch.tensor([0, 1])}
    # BART's classifier reads the last end-of-sequence token, every row needs the same number of them.
    tokens = torch.cat([torch.randint(5, VOCAB, (2, 7), generator=generator), torch.full((2, 1), 2)], dim=1)
    classifies = "Classification" in ALL[name].model.__name__
    return {"input_ids": tokens, "labels": torch.tensor([0, 1]) if classifies else tokens}


def logits(model: Any, name: str) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model.eval()(**batch(name)).logits
    return result


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one.float() - other.float()).abs().max().item()


def shake(model: Any) -> Any:
    """Move every adapter weight, so that the adapters change the output."""
    torch.manual_seed(7)
    for parameter_name, parameter in model.named_parameters():
        if ".bottleneck_" in parameter_name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@each_variant
@each_case
def test_untrained_adapter_is_identity_and_counts_as_the_formula_says(name: str, variant: str) -> None:
    base = build(name)
    plain = logits(base, name)
    head_size = sum(p.numel() for head in ALL[name].head for p in base.get_submodule(head).parameters())
    model = get_peft_model(base, configure(name, variant))
    assert difference(logits(model, name), plain) == 0.0
    sites = ALL[name].sites[0 if variant == "houlsby" else 1]
    assert sum(isinstance(module, BottleneckLayer) for module in model.modules()) == sites
    units = HIDDEN // 4
    trainable, _ = model.get_nb_trainable_parameters()
    assert trainable == sites * (2 * HIDDEN * units + units + HIDDEN) + head_size
    for parameter_name, parameter in model.named_parameters():
        expected = ".bottleneck_" in parameter_name or ".modules_to_save." in parameter_name
        assert parameter.requires_grad == expected, parameter_name


@each_variant
@each_case
def test_training_lowers_the_loss_and_reaches_every_adapter_weight(name: str, variant: str) -> None:
    model = get_peft_model(build(name), configure(name, variant, non_linearity="gelu"))
    weights = [p for p in model.parameters() if p.requires_grad]
    losses = []
    for _ in range(3):
        model.zero_grad()
        loss = model(**batch(name)).loss
        loss.backward()
        losses.append(loss.item())
        # a step along the gradient that lowers the loss by a thousandth, as far as the loss is linear
        step = 1e-3 * loss.item() / sum(p.grad.square().sum() for p in weights)
        for p in weights:
            p.data -= step * p.grad
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    adapters = {n: p.grad for n, p in model.named_parameters() if ".bottleneck_" in n}
    assert [n for n, grad in adapters.items() if grad is None or not grad.abs().sum() > 0] == []


@each_variant
@each_case
def test_saved_adapter_on_a_fresh_base_gives_the_same_logits(name: str, variant: str, tmp_path: Path) -> None:
    plain = logits(build(name), name)
    model = shake(get_peft_model(build(name, head_seed=1), configure(name, variant)))
    expected = logits(model, name)
    assert difference(expected, plain) > 1e-3
    with model.disable_adapter():
        assert difference(logits(model, name), logits(build(name, head_seed=1), name)) == 0.0
    assert difference(logits(model, name), expected) == 0.0
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(build(name, head_seed=2), tmp_path)
    assert difference(logits(loaded, name), expected) <= 1e-6
    assert not any(p.requires_grad for p in loaded.parameters())
    again = PeftModel.from_pretrained(build(name, head_seed=3), tmp_path, is_trainable=True, low_cpu_mem_usage=True)
    assert difference(logits(again, name), expected) <= 1e-6
    assert again.get_nb_trainable_parameters() == model.get_nb_trainable_parameters()


@each_variant
@each_case
def test_unload_gives_the_base_back_and_merging_is_refused(name: str, variant: str) -> None:
    model = shake(get_peft_model(build(name), configure(name, variant)))
    for refused in (model.merge_and_unload, model.merge_adapter, model.unmerge_adapter):
        with pytest.raises(ValueError, match="bottleneck adapters are not mergeable: "):
            refused()
    unloaded, base = model.unload(), build(name)
    assert list(unloaded.state_dict()) == list(base.state_dict())
    assert not any(isinstance(module, BottleneckLayer) or module._forward_pre_hooks for module in unloaded.modules())
    assert difference(logits(unloaded, name), logits(base, name)) == 0.0


@each_variant
@pytest.mark.parametrize("name", CASES)
def test_search_finds_what_the_table_says(name: str, variant: str) -> None:
    base = build(name)
    names = [module_name for module_name, _ in base.named_modules()]
    by_table = default_targets(base, base.config.model_type, variant)
    assert base.config.model_type in PLACEMENTS
    by_search = default_targets(base, None, variant)
    assert isinstance(by_table, str) and isinstance(by_search, str)
    found = [n for n in names if re.fullmatch(by_table, n)]
    assert found and found == [n for n in names if re.fullmatch(by_search, n)]
    # adapters that are there already are looked through
    adapted = get_peft_model(base, configure(name, variant)).base_model.model
    assert default_targets(adapted, None, variant) == by_search


@pytest.mark.parametrize("name", ["bert", "llama", "bart"])
def test_each_variant_computes_its_formula(name: str) -> None:
    """One layer's feed-forward block by hand: h <- h + s W_up f(W_down x), x the output or the block's input."""
    for variant in ("pfeiffer", "parallel"):
        model = shake(get_peft_model(build(name), configure(name, variant, non_linearity="tanh", scaling=0.5)))
        layer = next(module for module in model.modules() if isinstance(module, BottleneckLayer))
        down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
        x = torch.randn(2, 3, HIDDEN)
        inner = torch.randn(2, 3, 64)

        def adapter(hidden: torch.Tensor, down: Any = down, up: Any = up) -> torch.Tensor:
            weights = torch.tanh(hidden @ down.weight.T + down.bias)
            return 0.5 * (weights @ up.weight.T + up.bias)

        if variant == "pfeiffer":
            base = layer.base_layer(inner)
            result, expected = layer(inner), base + adapter(base)
        elif name == "bert":
            result, output = layer(inner, x), layer.base_layer
            expected = output.LayerNorm(output.dense(inner) + x + adapter(x))
        elif name == "llama":
            result, expected = layer(x), layer.base_layer(x) + adapter(x)
        else:
            parent = model.get_submodule(next(n for n, m in model.named_modules() if m is layer).rpartition(".")[0])
            inner = parent.fc1(x)
            result, expected = layer(inner), layer.base_layer(inner) + adapter(x)
        assert difference(result, expected) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name, variant", [("bert", "parallel"), ("llama", "houlsby"), ("t5-gated", "houlsby")])
def test_adapters_are_float32_on_a_half_precision_base(name: str, variant: str, dtype: torch.dtype) -> None:
    base = build(name).to(dtype)
    plain = logits(base, name)
    model = get_peft_model(base, configure(name, variant, modules_to_save=None))
    assert {p.dtype for n, p in model.named_parameters() if ".bottleneck_" in n} == {torch.float32}
    result = logits(model, name)
    assert result.dtype == dtype and difference(result, plain) == 0.0
    assert difference(logits(shake(model), name), plain) > 1e-3


@pytest.mark.parametrize("bits", [4, 8])
@each_variant
def test_quantised_base(variant: str, bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = pytest.importorskip("bitsandbytes.nn.modules")
    # On processors with AVX512-BF16 one evaluation repacks the 4-bit weights, after which no gradient passes them.
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: False)
    build("bert").save_pretrained(tmp_path / "base")
    quantization = hf.BitsAndBytesConfig(
        load_in_4bit=bits == 4, load_in_8bit=bits == 8, llm_int8_skip_modules=["classifier"]
    )

    def quantised() -> Any:
        return hf.AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "base", quantization_config=quantization, dtype=torch.float32
        )

    base = quantised()
    plain = logits(base, "bert")
    base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    model = get_peft_model(base, configure("bert", variant))
    assert difference(logits(model, "bert"), plain) == 0.0
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(**batch("bert")).loss.backward()
        optimizer.step()
    adapters = [p for n, p in model.named_parameters() if ".bottleneck_" in n]
    assert {p.dtype for p in adapters} == {torch.float32}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapters)
    model.save_pretrained(tmp_path / "adapter")
    expected = logits(model, "bert")
    assert difference(logits(PeftModel.from_pretrained(quantised(), tmp_path / "adapter"), "bert"), expected) <= 1e-6
    assert list(model.unload().state_dict()) == list(quantised().state_dict())


@pytest.mark.parametrize("first, second", [("pfeiffer", "houlsby"), ("houlsby", "pfeiffer"), ("parallel", "parallel")])
@pytest.mark.parametrize("name", ["bert", "roberta", "bart"])
def test_two_adapters_switch_and_go(name: str, first: str, second: str) -> None:
    plain = logits(build(name), name)
    model = shake(get_peft_model(build(name), configure(name, first), adapter_name="one"))
    one = logits(model, name)
    model.add_adapter("two", configure(name, second))
    assert difference(logits(model, name), one) == 0.0
    model.set_adapter("two")
    assert difference(logits(model, name), plain) == 0.0
    assert all(p.requires_grad == (".two." in n) for n, p in model.named_parameters())
    model.set_adapter("one")
    assert difference(logits(model, name), one) == 0.0
    model.delete_adapter("two")
    assert not any(".two." in n for n in model.state_dict())
    assert difference(logits(model, name), one) == 0.0


def test_adapters_after_and_beside_cannot_share_a_model() -> None:
    model = get_peft_model(build("llama"), configure("llama", "pfeiffer"))
    before = logits(model, "llama")
    with pytest.raises(ValueError, match="cannot share a model: allowed is parallel alone"):
        model.add_adapter("two", configure("llama", "parallel"))
    assert list(model.peft_config) == ["default"]
    assert difference(logits(model, "llama"), before) == 0.0


@each_variant
@pytest.mark.parametrize("name", ["bert", "llama", "bart"])
def test_gradient_checkpointing_and_copies_keep_the_gradients(name: str, variant: str) -> None:
    model = shake(get_peft_model(build(name), configure(name, variant)))
    twin = copy.deepcopy(model)
    twin.gradient_checkpointing_enable()
    for one in (model, twin):
        for module in one.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        for attribute in ("dropout", "attention_dropout", "activation_dropout"):  # BART's are plain numbers
            for module in one.modules():
                if isinstance(getattr(module, attribute, None), float):
                    setattr(module, attribute, 0.0)
        one.train()(**batch(name)).loss.backward()
    gradients = [{n: p.grad for n, p in one.named_parameters() if p.requires_grad} for one in (model, twin)]
    assert all(difference(grad, gradients[1][n]) <= 1e-6 for n, grad in gradients[0].items())


@pytest.mark.parametrize("name", ["gpt2", "t5", "bart"])
def test_generation_equals_greedy_decoding_by_hand(name: str) -> None:
    model = shake(get_peft_model(build(name), configure(name, "parallel")))
    tokens = batch(name)["input_ids"][:1, :4]
    written = model.generate(input_ids=tokens, max_new_tokens=4, min_new_tokens=4, do_sample=False, num_beams=1)
    by_hand = tokens if name == "gpt2" else torch.tensor([[model.config.decoder_start_token_id]])
    forbidden = model.generation_config.eos_token_id
    for _ in range(4):
        inputs = {"input_ids": by_hand} if name == "gpt2" else {"input_ids": tokens, "decoder_input_ids": by_hand}
        with torch.no_grad():
            last = model(**inputs, use_cache=False).logits[:, -1]
        if forbidden is not None:
            last[:, forbidden] = -torch.inf
        by_hand = torch.cat([by_hand, last.argmax(-1, keepdim=True)], dim=1)
    if model.generation_config.forced_eos_token_id is None:
        assert written.tolist() == by_hand.tolist()
    else:  # BART ends every text with this token
        assert written[:, :-1].tolist() == by_hand[:, :-1].tolist()


def test_targets_layers_and_exclusions() -> None:
    def adapted(**fields: Any) -> list[str]:
        model = get_peft_model(build("llama"), BottleneckConfig(**{"reduction_factor": 4, **fields}))
        return list(model.base_model.targeted_module_names)

    assert adapted(layers_to_transform=1) == ["model.layers.1.mlp.down_proj"]
    assert adapted(layers_to_transform=[0], variant="parallel") == ["model.layers.0.mlp"]
    assert adapted(target_modules=["self_attn.o_proj"], layers_to_transform=[1]) == ["model.layers.1.self_attn.o_proj"]
    assert adapted(exclude_modules=r".*\.0\..*") == ["model.layers.1.mlp.down_proj"]
    assert adapted(target_modules=r".*\.1\.mlp") == ["model.layers.1.mlp"]


def test_scaling_and_units() -> None:
    assert BottleneckConfig(variant="parallel").effective_scaling() == 4.0  # He et al. 2022, section 4.2
    assert BottleneckConfig(variant="houlsby").effective_scaling() == 1.0
    assert BottleneckConfig(variant="parallel", scaling=0.5).effective_scaling() == 0.5
    assert BottleneckConfig(reduction_factor=16).units(768) == 48
    assert BottleneckConfig(reduction_factor=768 / 7).units(768) == 7
    assert BottleneckConfig(reduction_factor=0.5).units(32) == 64


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"variant": "houlsbi"}, "unknown variant 'houlsbi', did you mean houlsby?"),
        ({"non_linearity": "rely"}, "unknown non_linearity 'rely', did you mean relu?"),
        ({"reduction_factor": 0}, "reduction_factor 0: allowed is a finite number above 0"),
        ({"reduction_factor": float("nan")}, "reduction_factor nan: allowed"),
        ({"dropout": 1.0}, "dropout 1.0: allowed is 0 <= dropout < 1"),
        ({"scaling": 0.0}, "scaling 0.0: allowed is None or a finite number other than 0"),
    ],
)
def test_bad_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        BottleneckConfig(**fields)


def test_bottleneck_without_units_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reduction_factor 64 leaves 0 units at hidden size 32: allowed is 0 < .* 32"):
        get_peft_model(build("bert"), BottleneckConfig(reduction_factor=64))


@each_variant
def test_architecture_without_known_blocks_is_refused(variant: str) -> None:
    mamba = hf.MambaForCausalLM(hf.MambaConfig(vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=1, state_size=4))
    with pytest.raises(ValueError, match=rf"no place for {variant} adapters found in MambaForCausalLM .*'mamba'"):
        get_peft_model(mamba, BottleneckConfig(variant=variant))


def test_layers_without_a_known_feed_forward_block_are_not_left_out() -> None:
    model = build("llama")
    model.model.layers[1].mlp = nn.Identity()
    with pytest.raises(ValueError, match="no place for pfeiffer adapters"):
        default_targets(model, None, "pfeiffer")


@pytest.mark.parametrize(
    "targets, message",
    [(["self_attn.o_proj"], "here 3 could be the first"), (["self_attn.v_proj"], "here 3 could be the first")],
)
def test_parallel_beside_anything_but_a_feed_forward_block_is_refused(targets: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_peft_model(build("llama"), BottleneckConfig(variant="parallel", target_modules=targets, reduction_factor=4))


@pytest.mark.parametrize(
    "name, attention, feed_forward, beside",
    [
        ("albert", "attention.dense", "ffn_output", "ffn_output"),
        ("opt", "self_attn.out_proj", "fc2", "fc2"),
        ("gpt_neox", "attention.dense", "mlp.dense_4h_to_h", "mlp"),
        ("phi3", "self_attn.o_proj", "mlp.down_proj", "mlp"),  # registers o_proj before qkv_proj
        ("mixtral", "self_attn.o_proj", "mlp", "mlp"),  # the mixture of experts is one block
    ],
)
def test_search_in_architectures_outside_the_table(name: str, attention: str, feed_forward: str, beside: str) -> None:
    found = search(dict(walk(build(name))))
    layers = ALL[name].sites[1]
    for names, suffix in zip(found, (attention, feed_forward, beside), strict=True):
        assert len(names) == layers and all(re.fullmatch(rf".*\.\d+\.{re.escape(suffix)}", n) for n in names)


def test_registration_is_idempotent() -> None:
    before = list(PeftType)
    peftkit.tuners._register()
    assert list(PeftType) == before
    member = PeftType("BOTTLENECK")
    assert member is PeftType["BOTTLENECK"] is PeftType.BOTTLENECK is copy.deepcopy(member)
    assert isinstance(member, PeftType) and member == "BOTTLENECK" and hash(member) == hash("BOTTLENECK")
