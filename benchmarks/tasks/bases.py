"""Small bases with random weights, made from a config: what the tasks' real runs start from where no hub is at hand.

``python -m benchmarks.tasks.bases small_vit FOLDER``
``python -m benchmarks.tasks.bases toy_t5 FOLDER train.jsonl.gz --columns en zh``
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


def small_vit(folder: Path) -> Path:
    """A ViT without a head, and its image processor: 48 x 48 pixels, 36 patches, 128 wide, 4 layers, 0.6 M weights."""
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel, set_seed

    set_seed(0)
    config = ViTConfig(
        image_size=48,
        patch_size=8,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(folder)
    return folder


def toy_t5(folder: Path, texts: Iterable[str], vocabulary: int = 8000) -> Path:
    """A T5 of 2 + 2 layers, 128 wide, and a tokenizer of at most `vocabulary` pieces learnt from `texts`.

    1.7 M weights with 8000 pieces. Pieces are learnt by byte-pair encoding over words that keep the space before them;
    ``<pad>``, ``</s>`` and ``<unk>`` are 0, 1 and 2 as in T5, and every text ends with ``</s>``.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration, set_seed

    special = ["<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="right",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    fast.save_pretrained(folder)
    set_seed(0)
    config = T5Config(
        vocab_size=len(fast),
        d_model=128,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def texts_of(files: Sequence[Path], columns: Sequence[str]) -> Iterator[str]:
    """The texts in `columns` of JSON-lines files, compressed by gzip or not."""
    for file in files:
        with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield from (row[column] for column in columns)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes one base into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    bases = parser.add_subparsers(dest="base", required=True)
    vit = bases.add_parser("small_vit", help=small_vit.__doc__)
    t5 = bases.add_parser("toy_t5", help="A small T5 and a tokenizer learnt from texts.")
    for base in (vit, t5):
        base.add_argument("folder", type=Path)
    t5.add_argument("files", type=Path, nargs="+", help="JSON lines, .gz or not")
    t5.add_argument("--columns", nargs="+", required=True, help="columns of the texts")
    t5.add_argument("--vocabulary", type=int, default=8000)
    given = parser.parse_args(arguments)
    if given.base == "small_vit":
        small_vit(given.folder)
    else:
        toy_t5(given.folder, texts_of(given.files, given.columns), given.vocabulary)


if __name__ == "__main__":
    main()
