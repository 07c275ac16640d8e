"""Text generation: a decoder learns completions, conversations or plain text, and is asked to write, or to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from peftkit.contracts import IGNORED, Batch, Example, Prediction, Reading, Row, Task, TaskSettings
from peftkit.errors import RowError, UserError
from peftkit.examples import collate_tokens
from peftkit.examples.generation import GenerationSettings, generated, left_padded
from peftkit.examples.likelihood import given_token_loss
from peftkit.examples.texts import Pattern, text_prediction, text_reference
from peftkit.metrics.classification import per_class
from peftkit.tasks.text_generation.conversations import Conversation
from peftkit.tasks.text_generation.labels import PromptLabel
from peftkit.tasks.text_generation.prompts import PromptCompletion
from peftkit.tasks.text_generation.shapes import PlainText, Shape

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

LIKELIHOOD = ("log_likelihood", "tokens", "bytes")


class TextGenerationSettings(TaskSettings):
    """How rows are written (`prompt` and `completion`, or `messages`, or `text`), and what is asked of the model."""

    name: Literal["text-generation"] = "text-generation"
    prompt: str = "prompt"
    """Column of what is given; of no account where `messages` or `text` is set."""
    completion: str = "completion"
    """Column of what is to follow, or of a list of acceptable texts (the first is learnt, all are scored); of no
    account where `messages` or `text` is set."""
    messages: str | None = None
    """Column of conversations, lists of ``{role, content}``, written by the tokenizer's chat template."""
    text: str | None = None
    """Column of plain text, all of it learnt (continued pretraining)."""
    separator: str = ""
    """Put between prompt and completion; counts as part of the prompt."""
    eos: bool = True
    """Whether the end-of-text token closes a completion or a plain text, and is learnt; a chat template closes turns
    as it wants."""
    loss_on: Literal["completion", "all"] = "completion"
    """What is learnt: the completion or the assistant's messages, or the prompt and the other messages too."""
    labels: Annotated[list[str], Field(min_length=2)] | None = None
    """The only completions there are: classification written as text."""
    choose_by: Literal["likelihood", "generation"] = "likelihood"
    """How one of the labels is chosen: the likeliest completion, or what the model writes, if that is a label."""
    generation: GenerationSettings | None = None
    """How the model writes when it is scored and predicts; without it, it writes nothing."""
    extract: Pattern | None = None
    """Regular expression of the part of a text that exact match compares: its first group, in its last match."""

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        others = [name for name in ("messages", "text") if getattr(self, name) is not None]
        pair = not others or bool({"prompt", "completion"} & self.model_fields_set)
        shapes = [*(["prompt and completion"] if pair else []), *others]
        if len(shapes) > 1:
            raise ValueError(f"{', '.join(shapes)}: rows have one shape; keep one of these settings")
        for setting, wanted in (("separator", pair), ("labels", pair), ("generation", not self.text)):
            if getattr(self, setting) and not wanted:
                fits = "prompt and completion" if setting != "generation" else "prompt and completion, or messages"
                raise ValueError(f"{setting} goes with rows of {fits}, not with {shapes[0]}")
        return self._one_purpose()

    def _one_purpose(self) -> Self:
        if self.extract is not None and self.generation is None:
            raise ValueError("extract reads what the model writes; give generation too, e.g. {max_new_tokens: 64}")
        if self.choose_by == "generation" and (self.labels is None or self.generation is None):
            raise ValueError("choose_by: generation needs labels, and generation, e.g. {max_new_tokens: 8}")
        if self.labels is None:
            return self
        if self.generation is not None and self.choose_by == "likelihood":
            raise ValueError("labels are chosen by likelihood, so nothing is written; give choose_by: generation")
        names = [label.strip() for label in self.labels]
        if "" in names or len(set(names)) < len(names):
            raise ValueError(f"labels must differ from each other and not be empty, given {self.labels}")
        return self


class TextGeneration(Task):
    """A decoder with its own head: the loss is the sum of the next-token cross-entropies of the tokens with labels."""

    settings_class: ClassVar[type[TaskSettings]] = TextGenerationSettings
    auto_class = "AutoModelForCausalLM"
    adds_head = False
    peft_task_type = "CAUSAL_LM"
    settings: TextGenerationSettings
    switches: Mapping[str, bool]
    """What the forward pass is told besides the tokens."""
    positions: int | None
    """Tokens that the model can read and write together; None where it sets no limit."""

    def __init__(self, settings: TextGenerationSettings) -> None:
        super().__init__(settings)
        self.shape = _shape(settings)
        self.default_metrics, self.gives = _scored(settings)

    def columns(self) -> Mapping[str, str]:
        return self.shape.columns()

    def stratify_by(self) -> str | None:
        return self.settings.completion if self.settings.labels else None

    def equip(self, processor: Any, config: PreTrainedConfig) -> None:
        super().equip(processor, config)
        text = config.get_text_config()
        self.shape.equip(processor)
        self.positions = getattr(text, "max_position_embeddings", None)
        # a cache of keys and values serves writing alone; elsewhere it would be memory for nothing
        self.switches = {"use_cache": False} if "use_cache" in text.to_dict() else {}
        asked = self.settings.generation
        if asked and self.positions is not None and asked.max_new_tokens >= self.positions:
            told = f"{asked.max_new_tokens} tokens to write leave no room for a prompt in {self.positions} positions"
            raise UserError(told, ("task", "generation", "max_new_tokens"))

    def encoded_by(self) -> Sequence[Any]:
        return (self.processor, self.positions)

    # --- Rows to examples to batches

    def encode(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[list[Example]]:
        assert max_length is not None
        found = self.shape.encode(rows, max_length)
        if self.settings.generation:
            for number, (example,) in enumerate(found):
                self._check_room(example, self.settings.generation.max_new_tokens, number)
        return found

    def collate(self, examples: Sequence[Example], augment: Random | None = None) -> Batch:
        batch = collate_tokens(examples, self.processor)
        batch.inputs.update(self.switches)
        return batch

    # --- The loss

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        assert batch.labels is not None
        return given_token_loss(outputs.logits, batch.labels).sum()

    def supervised(self, batch: Batch) -> int:
        return 0 if batch.labels is None else int((batch.labels[:, 1:] != IGNORED).sum())

    # --- Predictions

    def read(self, outputs: Any, batch: Batch) -> list[Reading]:
        """The log-likelihood of what has labels; of the whole text where nothing has and nothing else is asked."""
        labels = batch.labels
        if labels is None:
            if self.settings.generation or self.settings.labels:
                return [{} for _ in batch.examples]
            labels = batch.inputs["input_ids"].masked_fill(batch.inputs["attention_mask"] == 0, IGNORED)
        likelihoods = (-given_token_loss(outputs.logits, labels).sum(1)).tolist()
        counts = (labels[:, 1:] != IGNORED).sum(1).tolist()
        sizes = [example["bytes"] for example in batch.examples]
        return [dict(zip(LIKELIHOOD, row, strict=True)) for row in zip(likelihoods, counts, sizes, strict=True)]

    def loss_in(self, readings: Sequence[Reading]) -> float | None:
        return float(-sum(one["log_likelihood"] for one in readings))

    def generate(self, model: Any, batch: Batch) -> list[Reading] | None:
        prompts = [example["input_ids"][: example["prompt"]] for example in batch.examples if "prompt" in example]
        device = batch.inputs["input_ids"].device
        if isinstance(self.shape, PromptLabel) and self.settings.choose_by == "likelihood":
            return self.shape.likeliest(model, prompts, self.collate, device)
        if self.settings.generation is None:
            return None
        inputs = left_padded(prompts, self.processor, device)
        texts = generated(model, inputs, self.settings.generation, self.processor, self.shape.stop)
        if not isinstance(self.shape, PromptLabel):
            return [text_prediction(text, self.settings.extract) for text in texts]
        return [self.shape.named(text, self.settings.extract) for text in texts]

    def join(self, row: Row, readings: Sequence[Reading]) -> Prediction:
        sums = {name: sum(one[name] for one in readings) for name in LIKELIHOOD if name in readings[0]}
        return {**readings[0], **sums}

    def reference(self, row: Row) -> Any:
        """What may be written; the label; nothing for plain text, whose scores look at no reference."""
        if not self.shape.can_continue:
            return None
        texts = self.shape.texts(row)
        return texts[0].strip() if self.settings.labels else text_reference(texts, self.settings.extract)

    def row(self, line: str) -> dict[str, Any]:
        return self.shape.row(line)

    def detail(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> dict[str, Any]:
        return {"per_class": per_class(predictions, references)} if self.settings.labels else {}

    # --- Parts of the above

    def _check_room(self, example: Example, new: int, row: int) -> None:
        """Raises RowError where a prompt and what is written after it do not fit the model."""
        given, read = example["prompt"], len(example["input_ids"])
        key, kind = ("task", "generation", "max_new_tokens"), "the prompt leaves no room to write"
        if given > read:
            told = f"the last answer begins after {given} tokens, the limit is {read}: there is nothing to continue"
            raise RowError(told, row, ("training", "max_length"), kind)
        if self.positions is not None and given + new > self.positions:
            told = (
                f"the prompt has {given} tokens and {new} are to be written, but the model has {self.positions} places"
            )
            raise RowError(told, row, key, kind)


def _shape(settings: TextGenerationSettings) -> Shape:
    everything = settings.loss_on == "all"
    if settings.text is not None:
        return PlainText(settings.text, settings.eos)
    if settings.messages is not None:
        return Conversation(settings.messages, everything)
    pair = (settings.prompt, settings.completion, settings.separator, settings.eos, everything)
    return PromptLabel(*pair, settings.labels) if settings.labels else PromptCompletion(*pair)


def _scored(settings: TextGenerationSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Metrics, the first to choose by, and the fields that predictions have."""
    if settings.labels and settings.choose_by == "generation":
        return ("accuracy", "macro_f1", "invalid_share"), ("label", "valid", *LIKELIHOOD)
    if settings.labels:
        return ("accuracy", "macro_f1"), ("label", "scores", *LIKELIHOOD)
    likelihood = ("perplexity", "byte_perplexity", "bits_per_byte")
    if settings.generation is None:
        return likelihood, LIKELIHOOD
    # exact match tells models apart where there is an answer to extract; of free text it is 0 for most
    overlap = ("rougeL", "bleu", "chrf")
    written = ("exact_match", *overlap) if settings.extract else (*overlap, "exact_match")
    return (*written, *likelihood), ("text", "extracted", *LIKELIHOOD)
