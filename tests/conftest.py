"""Toy-sized real models built from configs, and rows that a toy can learn. No network anywhere."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from peftkit.methods import METHODS

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["PEFTKIT_CACHE"] = tempfile.mkdtemp(prefix="peftkit-tests-")  # not the user's own

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C, and pass that on

BY_NAME = [
    name
    for name, method in METHODS.items()
    if not any(field.is_required() for field in method.settings_class.model_fields.values())
]
"""Methods of which a recipe need say no more than the name."""
WORDS = [f"word{i}" for i in range(60)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "deberta-v2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "modernbert": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "global_attn_every_n_layers": 2,
        "initializer_cutoff_factor": 2.0,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
    },
    "qwen3": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 64,
    },
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    "bart": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    },
}
"""A toy of each architecture: transformers' config fields by model type."""


def save_toy(folder: Path, kind: str = "bert", seed: int = 0, auto_class: str = "AutoModel") -> Path:
    """A toy model of `kind`, by default without a head, and a word-level tokenizer, in `folder`."""
    if kind == "vit":
        return save_vision_toy(folder, seed, auto_class)
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoConfig, PreTrainedTokenizerFast, set_seed

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    names["eos_token"] = "[SEP]"
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if kind == "bert" else ["input_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, model_input_names=inputs, padding_side="right", **names
    )
    fast.save_pretrained(folder)
    set_seed(seed)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(vocabulary),
        max_position_embeddings=66,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        decoder_start_token_id=0 if kind == "t5" else 2,
        initializer_range=0.2,  # ten times the usual: at width 32 a toy would else tell no two texts apart
        **SIZES[kind],
    )
    getattr(transformers, auto_class).from_config(config).save_pretrained(folder)
    return folder


def save_vision_toy(folder: Path, seed: int = 0, auto_class: str = "AutoModel") -> Path:
    """A toy ViT of 16 x 16 pixels, 4 patches, and its image processor, in `folder`."""
    import transformers
    from transformers import ViTConfig, ViTImageProcessorPil, set_seed

    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    set_seed(seed)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=16, patch_size=8
    )
    getattr(transformers, auto_class).from_config(config).save_pretrained(folder)
    return folder


def toy_rows(count: int, classes: int = 3, offset: int = 0) -> list[dict[str, str]]:
    """Rows whose class is told by words of its own, of lengths from 4 to 20 words."""
    rows = []
    for i in range(offset, offset + count):
        label = i % classes
        length = 4 + (i * 7) % 17
        own = [WORDS[label * 10 + (i + k) % 10] for k in range(length // 2)]
        common = [WORDS[40 + (i * 3 + k) % 20] for k in range(length - len(own))]
        rows.append({"text": " ".join(own + common), "label": f"class{label}"})
    return rows


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """`rows` as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``toys("llama", "AutoModelForCausalLM")``: the folder of a toy model, made once."""
    made: dict[tuple[str, str], Path] = {}

    def toy(kind: str = "bert", auto_class: str = "AutoModel") -> Path:
        if (kind, auto_class) not in made:
            made[kind, auto_class] = save_toy(tmp_path_factory.mktemp(kind), kind, auto_class=auto_class)
        return made[kind, auto_class]

    return toy


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train (96 rows), validation (24) and test (31) of the toy task."""
    folder = tmp_path_factory.mktemp("data")
    write_jsonl(folder / "train.jsonl", toy_rows(96))
    write_jsonl(folder / "validation.jsonl", toy_rows(24, offset=200))
    write_jsonl(folder / "test.jsonl", toy_rows(31, offset=300))
    return folder


@pytest.fixture
def recipe_of(toys: Any, toy_data: Path) -> Any:
    """``recipe_of("lora", **{"training.epochs": 2})``: a recipe over the toy model and data."""
    from peftkit.recipe import check
    from peftkit.recipe.reading import lay_over

    def make(method: Any = "lora", kind: str = "bert", **settings: Any) -> Any:
        data: dict[str, Any] = {
            "model": str(toys(kind)),
            "method": method,
            "task": "text-classification",
            "data": str(toy_data),
            "training": {"epochs": 2.0, "batch_size": 8, "max_length": 32, "learning_rate": 5e-3},
        }
        places: dict[Any, str] = {}
        lay_over(data, places, [f"{key}={json.dumps(value)}" for key, value in settings.items()])
        return check(data, places)

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked gpu are skipped where there is no CUDA device."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
