"""Text to text with an encoder–decoder: any pair of texts, summarization, translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftkit.contracts import IGNORED, Batch, Example, Reading, Row, Task, TaskSettings
from peftkit.errors import RowError, UserError
from peftkit.examples import collate_tokens, tokenize
from peftkit.examples.generation import GenerationSettings, Positive, generated
from peftkit.examples.texts import Pattern, text_prediction, text_reference
from peftkit.examples.typed import json_row
from peftkit.tasks.text2text_generation.targets import decoder_positions, load_target_tokenizer, target_tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

ENCODER_INPUTS = ("input_ids", "attention_mask")
"""What the encoder reads; what else a tokenizer makes (BERT's token types) these models do not take."""


class EncoderDecoderSettings(TaskSettings):
    """Which columns hold the texts, how they become tokens, and how text is written."""

    text: str
    """Column of the text that is read; transformers' word for it."""
    text_target: str
    """Column of the text to write, or of a list of acceptable ones: trained on the first, scored by all."""
    prefix: str = ""
    """Put before every text that is read, e.g. T5's ``"summarize: "``."""
    max_target_length: Positive | None = None
    """Tokens that a target is cut to; by default what the decoder has positions for, else training.max_length."""
    target_tokenizer: str | None = None
    """A folder or hub name of another tokenizer for the targets; the model's own by default."""
    generation: GenerationSettings = GenerationSettings()
    """How text is written when predicting and scoring."""
    extract: Pattern | None = None
    """Regular expression of the part that exact match compares: its first group, in its last match."""


class Text2TextGenerationSettings(EncoderDecoderSettings):
    """Any text from any other."""

    name: Literal["text2text-generation"] = "text2text-generation"
    text: str = "text"
    """Column of the text that is read; transformers' word for it."""
    text_target: str = "target"
    """Column of the text to write, or of a list of acceptable ones: trained on the first, scored by all."""


class SummarizationSettings(EncoderDecoderSettings):
    """A short text from a long one."""

    name: Literal["summarization"] = "summarization"
    text: str = "text"
    """Column of the text that is read; transformers' word for it."""
    text_target: str = "summary"
    """Column of the summary, or of a list of acceptable ones: trained on the first, scored by all."""


class TranslationSettings(EncoderDecoderSettings):
    """A text in another language."""

    name: Literal["translation"] = "translation"
    text: str = "source"
    """Column of the text that is read; transformers' word for it."""
    text_target: str = "target"
    """Column of the translation, or of a list of acceptable ones: trained on the first, scored by all."""


class Text2TextGeneration(Task):
    """The decoder learns every token of the target, special tokens included, from those before it and the text.

    What it reads is the target moved one place to the right behind the model's ``decoder_start_token_id``, as BART
    (Lewis et al. 2020, arXiv:1910.13461) and T5 (Raffel et al. 2020, arXiv:1910.10683) do it in transformers
    (``shift_tokens_right``, ``_shift_right``). The loss is the sum of the tokens' cross-entropies.
    """

    settings_class: ClassVar[type[TaskSettings]] = Text2TextGenerationSettings
    auto_class = "AutoModelForSeq2SeqLM"
    adds_head = False
    peft_task_type = "SEQ_2_SEQ_LM"
    default_metrics: tuple[str, ...] = ("exact_match", "chrf", "bleu", "rougeL")
    gives = ("text", "extracted")
    settings: EncoderDecoderSettings
    target_processor: Any
    """The tokenizer of the targets, once equipped."""
    decoder_start: int
    """The token that the decoder starts from."""
    positions: int | None
    """Tokens that the decoder can read; None where it sets no limit (T5)."""

    def columns(self) -> Mapping[str, str]:
        return {"text": self.settings.text, "text_target": self.settings.text_target}

    def equip(self, processor: Any, config: PreTrainedConfig) -> None:
        super().equip(processor, config)
        name, kind = self.settings.name, config.model_type
        if not config.is_encoder_decoder:
            told = f"{name} needs an encoder–decoder such as BART or T5, and a {kind} model is none"
            raise UserError(f"{told}; text-generation is the task of decoders", ("model", "name"))
        start = getattr(config, "decoder_start_token_id", None)
        if start is None:
            told = (
                f"the config of this {kind} model names no decoder_start_token_id, which its decoder has to start from"
            )
            raise UserError(told, ("model", "name"))
        self.decoder_start, self.positions = start, decoder_positions(config)
        self.target_processor = load_target_tokenizer(self.settings.target_tokenizer, processor, config)
        self._refuse_lengths()

    def encoded_by(self) -> Sequence[Any]:
        return (self.processor, self.target_processor, self.positions)

    # --- Rows to examples to batches

    def encode(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[list[Example]]:
        assert max_length is not None
        sources = [self._source(cell, number) for number, cell in enumerate(rows[self.settings.text])]
        targets = [
            self._targets(cell, number)[0] for number, cell in enumerate(rows.get(self.settings.text_target, ()))
        ]
        examples = [
            {"input_ids": example["input_ids"], **({"cut": True} if "cut" in example else {})}
            for example in tokenize(self.processor, sources, None, max_length)
        ]
        if targets:
            limit = self.settings.max_target_length or self.positions or max_length
            for example, (labels, cut) in zip(
                examples, target_tokens(self.target_processor, targets, limit), strict=True
            ):
                example["labels"] = labels
                if cut:
                    example["cut"] = True
        return [[example] for example in examples]

    def length(self, example: Example) -> int:
        """Tokens of the encoder and of the decoder."""
        return len(example["input_ids"]) + len(self._decoder_ids(example))

    def collate(self, examples: Sequence[Example], augment: Random | None = None) -> Batch:
        import torch

        batch = collate_tokens(examples, self.processor)
        rows = [self._decoder_ids(example) for example in examples]
        longest, padding = max(map(len, rows)), self.target_processor.pad_token_id
        decoder_ids = torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        inputs = batch.inputs | {"decoder_input_ids": decoder_ids, "decoder_attention_mask": mask}
        return Batch(inputs, batch.labels, examples, batch.padded_tokens + decoder_ids.numel())

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import cross_entropy

        assert batch.labels is not None
        logits = outputs.logits.float().flatten(0, 1)
        return cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")

    # --- Predictions

    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        """Nothing: what is scored is the text that the model writes."""
        return [{} for _ in batch.examples]

    def generate(self, model: Any, batch: Batch) -> list[Reading]:
        inputs = {name: batch.inputs[name] for name in ENCODER_INPUTS}
        texts = generated(model, inputs, self.settings.generation, self.target_processor)
        return [text_prediction(text, self.settings.extract) for text in texts]

    def reference(self, row: Row) -> dict[str, Any]:
        return text_reference(self._targets(row[self.settings.text_target], 0), self.settings.extract)

    def row(self, line: str) -> dict[str, Any]:
        """One text a line, without the prefix; or JSON."""
        return json_row(line, [self.settings.text]) or {self.settings.text: line}

    # --- Parts of the above

    def _refuse_lengths(self) -> None:
        """Raises UserError where the settings ask for more than the decoder can read, or for less than a word."""
        asked, special = self.settings.max_target_length, self.target_processor.num_special_tokens_to_add()
        if asked is not None and asked <= special:
            told = f"{asked} tokens leave no room for a text: the tokenizer adds {special} of its own"
            raise UserError(told, ("task", "max_target_length"))
        for key, length in (
            (("task", "max_target_length"), asked),
            (("task", "generation", "max_new_tokens"), self.settings.generation.max_new_tokens),
        ):
            if self.positions is not None and length is not None and length > self.positions:
                raise UserError(f"{length} tokens asked, but the decoder has {self.positions} positions", key)

    def _source(self, cell: Any, row: int) -> str:
        column = self.settings.text
        if not isinstance(cell, str):
            told = f"column {column!r} holds {cell!r:.60}, which is not text"
            raise RowError(told, row, ("task", "text"), f"column {column!r} does not hold text")
        if not cell.strip():
            raise RowError(f"column {column!r} holds an empty text", row, ("task", "text"))
        return self.settings.prefix + cell

    def _targets(self, cell: Any, row: int) -> list[str]:
        """The acceptable texts of a row, at least one. Raises RowError."""
        column, key = self.settings.text_target, ("task", "text_target")
        texts = [cell] if isinstance(cell, str) else cell
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            told = f"column {column!r} holds {cell!r:.60}, which is neither text nor a list of texts"
            raise RowError(told, row, key, f"column {column!r} holds neither text nor a list of texts")
        if not texts or not all(text.strip() for text in texts):
            raise RowError(f"column {column!r} holds an empty text", row, key)
        return list(texts)

    def _decoder_ids(self, example: Example) -> list[int]:
        """What the decoder reads: its start, then all labels but the last; only the start where there are none."""
        return [self.decoder_start, *example.get("labels", ())[:-1]]


class Summarization(Text2TextGeneration):
    """Text to text under another hub tag, with the metrics of summaries."""

    settings_class: ClassVar[type[TaskSettings]] = SummarizationSettings
    default_metrics = ("rouge1", "rouge2", "rougeL")


class Translation(Text2TextGeneration):
    """Text to text under another hub tag, with the metrics of translations."""

    settings_class: ClassVar[type[TaskSettings]] = TranslationSettings
    default_metrics = ("bleu", "chrf", "exact_match")
