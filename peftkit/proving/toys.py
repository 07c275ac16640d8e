"""Toy-sized real models, made from configs: each architecture with its own parts, small enough to train in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [f"word{i}" for i in range(60)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": ENCODER,
    "roberta": ENCODER,
    "deberta-v2": ENCODER,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "modernbert": {**ENCODER, "global_attn_every_n_layers": 2, "local_attention": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {**ENCODER, "num_key_value_heads": 2},
    "qwen3": {**ENCODER, "num_key_value_heads": 1, "head_dim": 16},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    "bart": {
        "d_model": 32,
        **{
            f"{side}_{field}": size
            for side in ("encoder", "decoder")
            for field, size in {"layers": 2, "attention_heads": 2, "ffn_dim": 64}.items()
        },
    },
    "vit": {**ENCODER, "image_size": 16, "patch_size": 8},
}
"""transformers' config fields by model type. What is not said is as the architecture has it."""


def save_toy(folder: Path, architecture: str, seed: int = 0, auto_class: str = "AutoModel") -> Path:
    """A toy in `folder`, by default without a head, with a word-level tokenizer of `WORDS` or an image processor."""
    import transformers
    from transformers import AutoConfig, set_seed

    if architecture == "vit":
        image_size = ARCHITECTURES["vit"]["image_size"]
        transformers.ViTImageProcessorPil(size={"height": image_size, "width": image_size}).save_pretrained(folder)
        fields: dict[str, Any] = {}
    else:
        tokenizer(token_types=architecture == "bert").save_pretrained(folder)
        fields = {
            "vocab_size": len(SPECIAL) + len(WORDS),
            "max_position_embeddings": 66,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "decoder_start_token_id": 0 if architecture == "t5" else 2,
            "initializer_range": 0.2,  # ten times the usual: at width 32 a toy would else tell no two texts apart
        }
    set_seed(seed)
    config = AutoConfig.for_model(architecture, **fields, **ARCHITECTURES[architecture])
    getattr(transformers, auto_class).from_config(config).save_pretrained(folder)
    return folder


def tokenizer(*, token_types: bool) -> Any:
    """Words of `WORDS` by their place after `SPECIAL`, ``[CLS] … [SEP]`` around a text, ``[SEP]`` at its end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    inputs = ["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=64,
        model_input_names=inputs,
        padding_side="right",
        eos_token="[SEP]",
        **names,
    )
