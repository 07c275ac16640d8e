"""The groups of a recipe that are the same for every method and task: model, quantization, data, training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from peftkit.contracts import Settings

PositiveInt = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
"""What numpy takes as a seed (numpy.random.seed)."""


class Model(Settings):
    """The base model: a hub name or a local folder."""

    name: str = Field(min_length=1)
    """A hub name, a local folder, or a name that an installed package carries."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision the frozen weights are held in; what is trained is held in float32."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] | None = None
    """transformers' attn_implementation; by default its own choice, sdpa where the architecture has it."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run."""


class Quantization(Settings):
    """bitsandbytes quantization of the frozen base; heads are never quantized."""

    bits: Literal[4, 8]
    """8 for LLM.int8 (Dettmers et al. 2022, arXiv:2208.07339), 4 for QLoRA's data types."""
    type: Literal["nf4", "fp4"] = "nf4"
    """Data type of 4-bit weights (Dettmers et al. 2023, arXiv:2305.14314)."""
    double: bool = False
    """Whether the 4-bit scales are quantized too."""
    compute_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision of the 4-bit matrix products; the model's dtype by default."""

    @model_validator(mode="after")
    def _only_4bit_fields(self) -> Self:
        given = sorted(self.model_dump(exclude={"bits"}, exclude_defaults=True))
        if self.bits == 8 and given:
            raise ValueError(f"{', '.join(given)}: for 4-bit quantization only")
        return self


InvalidRows = Literal["refuse", "drop"]
SplitOrShare = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?%|[\w.-]+)$")]


class Data(Settings):
    """Where the rows come from and how they are split."""

    source: str | list[str] | dict[str, str] = Field(union_mode="left_to_right")
    """``builtin:NAME``, a folder (data files, or images by class), a file (also a zip of images), a list of
    files, files by split, ``given`` (rows passed from Python), or a hub name."""
    config: str | None = None
    """Configuration of a hub data set."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    train: str = "train"
    """Name of the training split."""
    validation: SplitOrShare | None = None
    """A split's name, or a share cut from train such as ``10%``; by default a split of that name, else 10% of train."""
    test: SplitOrShare | None = None
    """A split's name, or a share cut from train; by default a split of that name, else the validation rows."""
    max_train_samples: PositiveInt | None = None
    """Keeps that many training rows, the classes in proportion, drawn with split_seed."""
    max_eval_samples: PositiveInt | None = None
    """Keeps that many validation rows."""
    max_predict_samples: PositiveInt | None = None
    """Keeps that many test rows."""
    split_seed: Seed = 0
    """Seed of the cuts above; apart from the run's seed, so that seeds are compared on the same rows."""
    invalid_rows: InvalidRows = "refuse"
    """What to do with a row that the task cannot read: end with its number and the reason, or drop and count it."""


LORAPLUS_RATIO = 16.0
"""ηB/ηA that Hayou et al. recommend (2**4)."""
FOR_FACTORS = ("loraplus", "lorafa")
"""Values of ``training.optim`` that treat the two factors of a low-rank update apart: for methods that have them."""


class Training(Settings):
    """How training runs; names are those of transformers' TrainingArguments where the meaning is the same."""

    epochs: PositiveFloat = 3.0
    """Passes over the training rows."""
    max_steps: PositiveInt | None = None
    """Optimizer steps; overrides epochs."""
    batch_size: PositiveInt = 32
    """Rows a process takes at a time."""
    eval_batch_size: PositiveInt = 64
    """Rows a process takes at a time when evaluating."""
    gradient_accumulation_steps: PositiveInt = 1
    """Batches of every process to one optimizer step."""
    learning_rate: PositiveFloat | None = None
    """Peak learning rate; the method's own by default."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decoupled decay; not applied to biases and other one-dimensional weights."""
    optim: Literal["adamw", "loraplus", "lorafa"] = "adamw"
    """``adamw``; for LoRA also ``loraplus`` (LoRA+: B learns faster than A; Hayou et al. 2024, arXiv:2402.12354) and
    ``lorafa`` (LoRA-FA: A is frozen, B's gradient corrected; Zhang et al. 2023, arXiv:2308.03303), both over AdamW."""
    loraplus_lr_ratio: Annotated[float, Field(ge=1)] = LORAPLUS_RATIO
    """With ``optim: loraplus``, how many times the rate of A, learning_rate, is that of B; the paper advises a
    learning_rate somewhat below LoRA's beside it."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay of the mean of gradients."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """AdamW's decay of the mean of squared gradients."""
    adam_epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    lr_scheduler_type: Literal["linear", "cosine", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"] = (
        "linear"
    )
    """transformers' schedule of the learning rate, by optimizer steps."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.06
    """Share of the optimizer steps in which the learning rate rises from 0."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are clipped to this norm; 0 does not clip."""
    max_length: PositiveInt | None = None
    """Tokens a row is cut to; the model's longest input by default."""
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    """Autocast of the forward pass; by default that of the model's dtype (no for float32)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    train_sampling_strategy: Literal["random", "group_by_length"] = "random"
    """`group_by_length` puts rows of like length together, in random order of batches: less padding."""
    eval_strategy: Literal["no", "epoch", "steps"] = "epoch"
    """When to score the validation rows during training."""
    eval_steps: PositiveInt | None = None
    """Optimizer steps between evaluations, with ``eval_strategy: steps``."""
    metric_for_best_model: str | None = None
    """Metric that chooses the best checkpoint; the task's first by default. ``loss`` works for every task."""
    load_best_model_at_end: bool = True
    """Keep the best evaluated weights; the last ones otherwise."""
    early_stopping_patience: PositiveInt | None = None
    """Stop after that many evaluations without a better score."""
    logging_steps: PositiveInt = 10
    """Optimizer steps between entries of the loss history and of the trackers."""
    report_to: list[str] = []
    """Trackers by accelerate's names: tensorboard, wandb, …"""

    @model_validator(mode="after")
    def _ratio_goes_with_loraplus(self) -> Self:
        if self.loraplus_lr_ratio != LORAPLUS_RATIO and self.optim != "loraplus":
            raise ValueError(f"loraplus_lr_ratio is for optim: loraplus, given optim: {self.optim}")
        return self

    @model_validator(mode="after")
    def _evaluation_is_complete(self) -> Self:
        if (self.eval_strategy == "steps") != (self.eval_steps is not None):
            raise ValueError("eval_steps and eval_strategy: steps go together")
        if self.early_stopping_patience and self.eval_strategy == "no":
            raise ValueError("early_stopping_patience needs eval_strategy epoch or steps")
        return self
